"""Redis as users have it: behind TLS, behind an ACL, on a Unix socket, shared; what cannot be used is refused clearly.

The embedded server speaks no TLS, so a relay in front of it does.
"""

import re
import socket
import ssl
from contextlib import contextmanager
from importlib.resources import files

import pytest
import trustme
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from support.people import person
from support.processes import WorkerProcess
from support.proxy import Proxy
from support.redis_acl import CHANNELS, COMMANDS, COMMANDS_OF_THE_DOCTOR, allowed
from support.servers import on_one_server
from support.stage import KEY, Stage
from support.waiting import wait_until

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.errors import SettingError, StoreUnavailable
from contact_ingest.operations import doctor
from contact_ingest.operations.doctor import redis
from contact_ingest.sandbox.redis_server import EmbeddedServer


@pytest.fixture(scope="module")
def redis_server(server_kind, tmp_path_factory):
    """A server of this file's own, with a Unix socket beside its port."""
    path = tmp_path_factory.mktemp("socket") / "s"
    with server_kind.start("--unixsocket", str(path)) as server:
        server.unix_url = f"unix://{path}?db=0"
        yield server


@pytest.fixture
def stage(redis_server, client, sandbox, tmp_path):
    """`stage(url)`: settings of one install on that address."""
    made: list[Stage] = []

    def make(url: str = "", **more: str) -> Stage:
        made.append(Stage(url or redis_server.url, sandbox.url, tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def run_through(stage: Stage, records: int = 50) -> None:
    """The whole journey of a few records, with a real worker, the broker on the same address."""
    with stage.worker(pool="prefork", concurrency=2) as worker:
        stage.enqueue(person(i, last_name="[[reject-named]]" if i == 7 else "x") for i in range(records))
        found = stage.wait_until_settled(records)
        worker.child.terminate()
        # billiard's children wait up to 30 s for a parent that no longer listens: 4 of 50 stops of an idle pool.
        wait_until(lambda: worker.has_ended, 60, lambda: worker.log)
        assert worker.wait() == 0
        assert "Traceback" not in worker.log
    assert found["delivered"] == records - 1
    assert found["failed"] == 1
    stage.assert_books_balance()


class Certificates:
    """A certificate authority, and the files that clients and servers are given."""

    def __init__(self, folder, host: str = "127.0.0.1") -> None:
        self._authority = trustme.CA()
        self.file = folder / f"ca-{id(self)}.pem"
        self._authority.cert_pem.write_to_path(str(self.file))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(self.server)

    def ask_of_clients(self, folder) -> str:
        """From now on clients need a certificate; returns what their address has to say more."""
        self._authority.configure_trust(self.server)
        self.server.verify_mode = ssl.CERT_REQUIRED
        issued = self._authority.issue_cert("client@example.com")
        cert, key = folder / "client.pem", folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        return f"&ssl_certfile={cert}&ssl_keyfile={key}"


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


@contextmanager
def tls_in_front_of(server, certificates: Certificates):
    with Proxy(server.port, tls=certificates.server) as relay:
        yield relay


def rediss(relay: Proxy, more: str) -> str:
    return f"rediss://127.0.0.1:{relay.port}/0?{more}"


def test_lanes_and_broker_work_through_tls(redis_server, certificates, stage):
    with tls_in_front_of(redis_server, certificates) as relay:
        run_through(stage(rediss(relay, f"ssl_ca_certs={certificates.file}")))
        assert relay.connections > 3


@on_one_server()
def test_lanes_and_broker_show_a_certificate_of_their_own(redis_server, certificates, stage, tmp_path):
    more = certificates.ask_of_clients(tmp_path)
    with tls_in_front_of(redis_server, certificates) as relay:
        run_through(stage(rediss(relay, f"ssl_ca_certs={certificates.file}{more}")))


@on_one_server()
@pytest.mark.parametrize("fault", ["another authority", "the system's authorities", "another host"])
def test_a_server_whose_certificate_is_not_trusted_is_not_spoken_to(redis_server, tmp_path, stage, fault):
    right = Certificates(tmp_path, "redis.example.com" if fault == "another host" else "127.0.0.1")
    trusted = Certificates(tmp_path) if fault == "another authority" else right
    more = "" if fault == "the system's authorities" else f"ssl_ca_certs={trusted.file}"
    with tls_in_front_of(redis_server, right) as relay:
        one = stage(rediss(relay, more))
        with pytest.raises(RedisConnectionError, match="certificate verify failed"):
            one.engine.client.ping()


@on_one_server()
def test_a_worker_does_not_speak_to_a_broker_that_it_does_not_trust(
    redis_server, certificates, tmp_path, stage, client
):
    """The lanes are in clear and well; only the broker is behind a certificate of a stranger."""
    with tls_in_front_of(redis_server, Certificates(tmp_path)) as relay:
        one = stage()
        environment = {**one.environment(), "CELERY_BROKER_URL": rediss(relay, f"ssl_ca_certs={certificates.file}")}
        with WorkerProcess(environment, tmp_path) as worker:
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in worker.log or worker.has_ended, 30, lambda: worker.log)
            assert "CERTIFICATE_VERIFY_FAILED" in worker.log
            assert " ready." not in worker.log


def user(client: Redis, *rules: str) -> None:
    client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pa55word", *rules)


@pytest.fixture
def acl_url(redis_server, client):
    yield f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0"
    client.execute_command("ACL", "DELUSER", "app")


def test_a_user_with_its_own_keys_and_the_listed_commands_is_enough(client, acl_url, stage):
    user(client, "~acl:*", *CHANNELS, *allowed(client))
    client.execute_command("ACL", "LOG", "RESET")

    run_through(stage(acl_url, prefix="acl"))

    assert client.execute_command("ACL", "LOG") == []
    assert {key.decode().partition(":")[0] for key in client.scan_iter("*")} == {"acl"}


def test_every_command_of_the_scripts_is_on_the_list(client):
    """A script that needs another would fail half-way, for users with an ACL only."""
    lua = "".join(file.read_text() for file in files("contact_ingest.store").joinpath("lua").iterdir())
    called = set(re.findall(r"(?:redis\.p?call|each)\('([A-Z]+)'", lua))

    assert len(called) > 20
    assert {name.lower() for name in called} <= COMMANDS


def test_a_user_may_not_read_the_keys_of_others(client, acl_url, stage):
    user(client, "~acl:*", *CHANNELS, *allowed(client))

    with pytest.raises(StoreUnavailable, match=r"Redis refused \(NOPERM\): the ACL forbids"):
        stage(acl_url, prefix="other").enqueue([person(1)])


def test_a_worker_starts_without_config_and_says_so(client, acl_url, stage):
    user(client, "~acl:*", "&*", "+@all", "-config", "-info")
    one = stage(acl_url, prefix="acl")

    with one.worker(ready=False) as worker:
        wait_until(lambda: "maxmemory-policy cannot be checked" in worker.log, 20, lambda: worker.log)


def test_the_doctor_may_look_where_config_is_allowed(client, acl_url, stage):
    user(client, "~acl:*", *CHANNELS, *allowed(client, COMMANDS_OF_THE_DOCTOR))
    found = {one.about: one.level for one in redis.check_server(stage(acl_url, prefix="acl").engine)}

    assert found.pop("redis version") in ("ok", "wrong")  # the tests run on old releases too
    assert found["appendfsync"] == "ok"
    assert set(found.values()) == {"ok"}


def test_lanes_work_through_a_unix_socket(redis_server, stage):
    one = stage(redis_server.unix_url)

    assert one.enqueue([person(1)]).accepted == 1
    assert one.books()["waiting"] == 1


def test_lanes_and_broker_work_through_a_unix_socket(redis_server, stage):
    run_through(stage(redis_server.unix_url))


def test_two_installs_share_a_server_and_do_not_see_each_other(redis_server, client, stage, sandbox):
    mine, yours = stage(prefix="mine"), stage(prefix="yours")

    with mine.worker() as worker:
        yours.enqueue(person(i, domain="yours.example") for i in range(5))
        mine.enqueue(person(i, domain="mine.example") for i in range(5))
        assert mine.wait_until_settled(5)["delivered"] == 5
        assert [member.name.endswith(f":{worker.pid}") for member in mine.engine.workers.members()] == [True]
        assert worker.stop() == 0

    assert yours.books()["waiting"] == 5
    assert yours.engine.workers.members() == []
    assert {contact["email"].partition("@")[2] for contact in sandbox.contacts()} == {"mine.example"}
    assert {key.decode().partition(":")[0] for key in client.scan_iter("*")} == {"mine", "yours"}


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sentinel://127.0.0.1:26379/0", "Sentinel"),
        ("redis+sentinel://127.0.0.1:26379/0", "Sentinel"),
        ("redis+cluster://127.0.0.1:6379/0", "Cluster"),
        ("rediss+cluster://127.0.0.1:6379/0", "Cluster"),
        ("rediss://127.0.0.1:6379/0?ssl_cert_reqs=none", "certificates must be required"),
        ("rediss://127.0.0.1:6379/0?ssl_check_hostname=false", "has an option that is none of"),
        ("memcached://127.0.0.1", "must begin with redis://"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_any_connection(monkeypatch, url, word):
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        monkeypatch.delenv("REDIS_URL", raising=False)
        monkeypatch.setenv(name, url)
        if name == "CELERY_BROKER_URL" and url.startswith("memcached"):
            continue  # brokers of other kinds are kombu's business
        with pytest.raises(SettingError, match=rf"^{name}: .*{word}"):
            Settings.load()


@on_one_server()
def test_an_evicting_server_stops_the_worker_with_one_line_and_a_code(stage, tmp_path):
    with EmbeddedServer(extra=["--maxmemory-policy", "allkeys-lru"]) as server:
        one = stage(server.url)

        with pytest.raises(SettingError, match="maxmemory-policy is allkeys-lru; must be noeviction"):
            doctor.refuse_unsafe_store(one.engine)
        refuses_to_start(one, "REDIS_URL: maxmemory-policy is allkeys-lru")


def refuses_to_start(one: Stage, line: str, pool: str = "solo", **set_: str) -> str:
    with one.worker(pool=pool, ready=False, **set_) as worker:
        assert worker.wait(30) != 0
        log = worker.log
    assert [said for said in log.splitlines() if line in said], log
    assert "Traceback" not in log
    assert " ready." not in log
    return log


def test_a_schema_of_the_future_stops_the_worker(stage, client):
    client.set("stage:schema", 99)

    refuses_to_start(stage(), "CONTACT_INGEST_KEY_PREFIX: the keys under it are of schema 99", pool="prefork")

    assert client.get("stage:schema") == b"99"


@on_one_server()
def test_a_malformed_list_id_stops_the_worker(stage, tmp_path):
    config = tmp_path / "lists.toml"
    config.write_text(f'[destinations.news]\nplatform = "sendgrid"\napi_key = "{KEY}"\nlist_ids = ["nope"]')

    log = refuses_to_start(stage(), "destinations.news.list_ids: item 1 is not a UUID", CONFIG=str(config))

    assert KEY not in log


@on_one_server()
def test_a_misspelt_setting_stops_the_worker(stage):
    refuses_to_start(stage(), "CONTACT_INGEST_MAX_WIAT_S: no such setting", MAX_WIAT_S="1")


@on_one_server()
def test_a_server_that_comes_up_late_is_still_checked(stage, tmp_path):
    """The worker waits for its broker; an evicting server that answers then is refused then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = stage(f"redis://127.0.0.1:{port}/0")
    with one.worker(ready=False) as worker:
        wait_until(lambda: "redis did not answer" in worker.log or worker.has_ended, 30, lambda: worker.log)
        with EmbeddedServer(port=port, extra=["--maxmemory-policy", "volatile-ttl"]):
            code = worker.wait(30)
        assert code == 2, worker.log
        assert "REDIS_URL: maxmemory-policy is volatile-ttl" in worker.log


@on_one_server()
def test_no_line_of_a_worker_shows_the_password_of_redis(client, acl_url, stage):
    user(client, "~*", "&*", "+@all")
    one = stage(acl_url)

    with one.worker(more=["--loglevel", "DEBUG"]) as worker:
        one.enqueue([person(1)])
        one.wait_until_settled(1)
        client.execute_command("ACL", "SETUSER", "app", "resetpass", ">another")
        client.execute_command("CLIENT", "KILL", "USER", "app")
        wait_until(lambda: "Redis refused (WRONGPASS)" in worker.log, 20, lambda: worker.log)
        assert "pa55word" not in worker.log


@on_one_server()
def test_the_password_is_in_no_repr(acl_url):
    parts = Engine(Settings(REDIS_URL=acl_url).model_copy(update={"destinations": {"s": sendgrid()}}))

    shown = f"{parts.settings!r} {parts!r} {parts.client!r} {parts.broker!r} {parts.runtime('s').store!r}"
    parts.close()

    assert "pa55word" not in shown


def sendgrid() -> Destination:
    return Destination(platform="sendgrid", api_key=KEY, base_url="http://127.0.0.1:1")
