"""The doctor finds each thing that can be wrong with an install, says what to do, and exits 1; otherwise 0."""

import re
import socket
from typing import Any

import orjson
import pytest
import typer
from relay import Relay
from typer.testing import CliRunner

from worker import checks_server, enqueue
from worker.cli.doctor import register
from worker.embedded import EmbeddedServer
from worker.settings import Destination, Settings
from worker.wiring import Wiring, install

KEY = "SG.test-key"
LANE = "sendgrid"


@pytest.fixture(scope="module")
def redis_server():
    """A server of this file's own: its configuration is turned."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(autouse=True)
def turned_back(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync")
    before = {name: client.config_get(name)[name] for name in names}
    yield
    for name, value in before.items():
        client.config_set(name, value)


@pytest.fixture
def wire(redis_server, sandbox):
    """The parts of this process: `wire(url, destination={...}, setting=...)`."""
    made: list[Wiring] = []

    def make(url: str = "", *, destination: dict[str, Any] | None = None, **settings: Any) -> Wiring:
        given = {"platform": "sendgrid", "api_key": KEY, "base_url": sandbox.url, **(destination or {})}
        base = Settings(REDIS_URL=url or redis_server.url, **{"max_wait_s": 0, **settings})
        parts = Wiring(base.model_copy(update={"destinations": {LANE: Destination(**given)}}))
        install(parts)
        made.append(parts)
        return parts

    yield make
    for parts in made:
        parts.close()


@pytest.fixture
def parts(wire):
    """All is well: a server, an account, a worker that ticks."""
    parts = wire()
    parts.fleet.beat("host:1", 4)
    return parts


def run(*arguments: str):
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def wrong(*arguments: str) -> dict[str, tuple[str, str]]:
    """The findings of a round that has some: what each is about, what it says, and its remedy."""
    ended = run("doctor", "--json", *arguments)
    assert ended.exit_code == 1, ended.output
    found = [finding for finding in orjson.loads(ended.stdout)["findings"] if finding["level"] == "wrong"]
    assert all(finding["remedy"] for finding in found)
    return {finding["about"]: (finding["says"], finding["remedy"]) for finding in found}


def notes() -> dict[str, str]:
    found = orjson.loads(run("doctor", "--json").stdout)["findings"]
    return {finding["about"]: finding["says"] for finding in found if finding["level"] == "note"}


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_a_sound_install_gets_a_clean_bill(parts):
    enqueue({"email": "a@example.com"})

    ended = run("doctor", "--books")

    assert ended.exit_code == 0, ended.output
    assert ended.output.endswith("all is well\n")
    assert "FINDING" not in ended.output


def test_the_round_changes_no_key(parts, client):
    before = sorted(client.keys())

    assert run("doctor", "--books").exit_code == 0

    assert sorted(client.keys()) == before


def test_a_finding_is_printed_with_its_remedy(wire):
    wire()

    ended = run("doctor")

    assert ended.exit_code == 1
    assert "FINDING  workers: " in ended.output
    assert "celery -A tasks worker" in ended.output
    assert ended.output.endswith("1 finding\n")


def test_redis_that_does_not_answer_is_found_and_the_account_is_still_probed(wire):
    wire(f"redis://:pa55word@127.0.0.1:{closed_port()}/0")

    ended = run("doctor")

    assert ended.exit_code == 1
    assert "redis: does not answer" in ended.output
    assert "check REDIS_URL" in ended.output
    assert "sendgrid: account" in ended.output
    assert "pa55word" not in ended.output


def test_a_broker_that_does_not_answer_is_found(wire):
    wire(CELERY_BROKER_URL=f"redis://127.0.0.1:{closed_port()}/0").fleet.beat("host:1", 4)

    assert "CELERY_BROKER_URL" in wrong()["broker"][1]


def test_an_evicting_server_is_found(parts, client):
    client.config_set("maxmemory-policy", "allkeys-lru")

    says, remedy = wrong()["maxmemory-policy"]

    assert "allkeys-lru" in says
    assert "noeviction" in remedy


def test_a_server_without_an_append_only_file_is_found(parts, client):
    client.config_set("appendonly", "no")

    assert "appendonly yes" in wrong()["appendonly"][1]


def test_a_server_that_never_syncs_is_found(parts, client):
    client.config_set("appendfsync", "no")

    assert "appendfsync everysec" in wrong()["appendfsync"][1]


def test_memory_nearly_full_is_found(parts, client):
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))

    assert "maxmemory" in wrong()["memory"][1]


def test_an_old_server_is_found(wire, redis_server):
    """The server is told by what it says of itself, changed on its way."""

    def older(reply: bytes) -> bytes:
        return re.sub(rb"valkey_version:\d\.\d\.\d", b"valkey_version:8.0.5", reply)

    with Relay(redis_server.port, rewrite=older) as relay:
        wire(f"redis://127.0.0.1:{relay.port}/0").fleet.beat("host:1", 4)
        says, remedy = wrong()["redis version"]

    assert "8.0.5" in says
    assert "8.0.6" in remedy


@pytest.mark.parametrize(
    ("info", "remedy"),
    [
        ({"redis_version": "5.0.14"}, "6.2.20"),
        ({"redis_version": "6.2.19"}, "6.2.20"),
        ({"redis_version": "7.0.15"}, "7.2.11"),
        ({"redis_version": "7.2.10"}, "7.2.11"),
        ({"redis_version": "7.4.5"}, "7.4.6"),
        ({"redis_version": "8.0.3"}, "8.0.4"),
        ({"redis_version": "8.2.1"}, "8.2.2"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.10"}, "7.2.11"),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.5"}, "8.0.6"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, "8.1.4"),
    ],
)
def test_each_line_of_releases_has_its_own_first_mended_one(info, remedy):
    found = checks_server.check_version(info)

    assert found.level == "wrong"
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "info",
    [
        *({"redis_version": version} for version in ("6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2", "8.4.0", "9.0.0")),
        *({"redis_version": "7.2.4", "valkey_version": version} for version in ("7.2.11", "8.0.6", "8.1.4", "9.0.0")),
    ],
)
def test_a_mended_server_passes(info):
    assert checks_server.check_version(info).level == "ok"


def test_a_clock_that_is_off_is_found(wire, redis_server):
    def late(reply: bytes) -> bytes:
        ago = lambda found: b"%b%d\r\n" % (found[1], int(found[2]) - 60)  # noqa: E731
        return re.sub(rb"(\*2\r\n\$10\r\n)(\d{10})\r\n", ago, reply)

    with Relay(redis_server.port, rewrite=late) as relay:
        wire(f"redis://127.0.0.1:{relay.port}/0").fleet.beat("host:1", 4)
        says, remedy = wrong()["clock"]

    assert "ahead" in says
    assert "NTP" in remedy


def test_keys_of_another_schema_are_found(parts, client):
    client.set("contact-ingest:schema", 99)

    says, remedy = wrong()["schema"]

    assert "99" in says
    assert "CONTACT_INGEST_KEY_PREFIX" in remedy


def test_silent_workers_are_found(wire, client):
    parts = wire()
    parts.fleet.beat("host:1", 4)
    client.hset("contact-ingest:workers", "host:1", orjson.dumps([client.time()[0] - 20, 4]))

    assert "celery -A tasks worker" in wrong()["workers"][1]


def test_messages_that_nobody_takes_are_found(wire, client):
    wire()
    client.lpush("contact-ingest:broker:contacts", *["bell"] * 101)

    assert "101" in wrong()["broker"][0]


def test_a_long_queue_is_no_finding_while_workers_live(parts, client):
    client.lpush("contact-ingest:broker:contacts", *["bell"] * 101)

    assert run("doctor").exit_code == 0


def test_a_refused_key_is_found_and_never_shown(wire):
    wire(destination={"api_key": "SG.wr0ng"}).fleet.beat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "key is refused (401)" in says
    assert "destinations.sendgrid.api_key" in remedy
    assert "wr0ng" not in run("doctor").output


def test_a_platform_that_cannot_be_reached_is_found(wire):
    wire(destination={"base_url": f"http://127.0.0.1:{closed_port()}"}).fleet.beat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "cannot be reached" in says
    assert "base_url" in remedy


def test_a_stopped_destination_is_found_with_the_reason(parts):
    parts.site(LANE).schedule.stop("unauthorized", "the key was revoked")

    says, remedy = wrong()["sendgrid: state"]

    assert says == "stopped: the key was revoked"
    assert "contact-ingest resume --to sendgrid" in remedy


def test_a_paused_destination_and_a_paused_lane_are_found_with_the_reason(parts):
    enqueue({"email": "a@example.com"})
    parts.site(LANE).schedule.pause(None, "moving house")
    parts.site(LANE).schedule.pause(LANE, "wrong list")

    found = wrong()

    assert found["sendgrid: state"][0] == "paused: moving house"
    assert found["lane sendgrid"] == ("paused: wrong list", "`contact-ingest resume --lane sendgrid`")


def test_batches_that_nobody_takes_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    site = parts.site(LANE)
    site.definitions.ready_for({})
    site.aggregation.aggregate(LANE)
    assert run("doctor").exit_code == 0

    client.set(site.store.keys("clock"), round(3 * parts.settings.lease_s * 1000) + 1000)

    says, remedy = wrong()["sendgrid: batches"]
    assert says.startswith("1 have been due")
    assert "worker" in remedy


def test_imports_followed_past_their_deadline_are_found(wire, client, sandbox):
    sandbox.dials(job_seconds=[60, 60])
    parts = wire(poll_deadline_s=10, lease_s=10)
    enqueue({"email": "a@example.com"})
    site = parts.site(LANE)
    site.aggregation.aggregate(LANE)
    site.delivery.dispatch(LANE)
    client.set(site.store.keys("clock"), 41_000)
    client.zadd(site.store.keys("polls"), {1: site.schedule.now_ms() + 60_000})
    parts.fleet.beat("host:1", 4)

    assert "1 imports are past the deadline of 10 s" in wrong()["sendgrid: batches"][0]


def test_staged_bodies_without_an_expiry_are_found(parts, client):
    k = parts.site(LANE).store.keys
    client.set(k("serial"), 3)
    client.set(k("b:2:body"), b"{}", px=60_000)
    assert run("doctor").exit_code == 0

    client.persist(k("b:2:body"))

    assert wrong()["sendgrid: staged bodies"][0].startswith("1 belong to no batch")


def test_a_lane_that_is_nearly_full_is_found(wire):
    wire(max_lane_bytes=1_000_000).fleet.beat("host:1", 4)
    enqueue({"email": f"p{i}@example.com", "first_name": "x" * 1000} for i in range(800))

    says, remedy = wrong()["lane sendgrid"]

    assert "full" in says
    assert "CONTACT_INGEST_MAX_LANE_BYTES" in remedy


def test_books_that_do_not_balance_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    client.hincrby(parts.site(LANE).store.keys(f"books:{LANE}"), "delivered", 1)

    assert "accepted 1 is not the sum" in wrong()["books of sendgrid"][0]


def test_books_that_keys_contradict_are_found_by_a_recount(parts, client):
    enqueue({"email": "a@example.com"})
    client.rpush(parts.site(LANE).store.keys(f"wait:{LANE}"), b"{}")
    assert run("doctor").exit_code == 0

    assert "the books say 1 waiting, the keys 2" in wrong("--books")["books of sendgrid"][0]


def test_what_an_acl_forbids_is_a_note_and_no_finding(wire, redis_server, client):
    client.execute_command(
        "ACL", "SETUSER", "app", "on", ">pa55word", "~contact-ingest:*", "&*", "+@all", "-config", "-info"
    )
    try:
        wire(f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0").fleet.beat("host:1", 4)
        ended = run("doctor")
        found = notes()
    finally:
        client.execute_command("ACL", "DELUSER", "app")

    assert ended.exit_code == 0, ended.output
    assert set(found) == {"redis version", "maxmemory-policy", "appendonly"}
    assert all("cannot be checked: the ACL forbids" in says for says in found.values())


def test_the_settings_in_force_are_shown_without_secrets(wire, redis_server, client, tmp_path):
    client.execute_command("ACL", "SETUSER", "app", "on", ">pa55word", "~*", "&*", "+@all")
    (tmp_path / "contact-ingest.toml").write_text("")
    url = f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0"
    try:
        wire(url, CELERY_BROKER_URL=url, max_wait_s=7).fleet.beat("host:1", 4)
        plain, machine = run("doctor"), run("doctor", "--json")
    finally:
        client.execute_command("ACL", "DELUSER", "app")

    assert f"REDIS_URL=redis://***@127.0.0.1:{redis_server.port}/0" in plain.output
    assert "CONTACT_INGEST_MAX_WAIT_S=7" in plain.output
    assert "configuration file: contact-ingest.toml" in plain.output
    assert "[destinations.sendgrid]" in plain.output
    report = orjson.loads(machine.stdout)
    assert report["config"] == "contact-ingest.toml"
    assert report["settings"]["CONTACT_INGEST_MAX_WAIT_S"] == 7
    assert report["healthy"] is True
    for said in (plain.output, machine.output):
        assert "pa55word" not in said
        assert KEY not in said


def test_a_wrong_setting_ends_the_doctor_with_its_name_and_exit_code_2(monkeypatch):
    monkeypatch.setattr("worker.wiring._made", {})
    monkeypatch.setenv("CONTACT_INGEST_LEASE_S", "long")

    for command in ("doctor", "health"):
        ended = run(command)
        assert ended.exit_code == 2
        assert ended.stderr.startswith("CONTACT_INGEST_LEASE_S: ")
        assert len(ended.stderr.splitlines()) == 1


def test_health_is_good_while_a_worker_ticks(parts):
    ended = run("health")

    assert ended.exit_code == 0
    assert ended.output.startswith("ok: Redis answers; workers: 1")
    assert len(ended.output.splitlines()) == 1


def test_health_is_bad_without_a_worker(wire):
    wire()

    ended = run("health", "--json")

    assert ended.exit_code == 1
    assert orjson.loads(ended.stdout)["healthy"] is False


def test_health_is_bad_without_redis(wire):
    wire(f"redis://:pa55word@127.0.0.1:{closed_port()}/0")

    ended = run("health")

    assert ended.exit_code == 1
    assert ended.output.startswith("not healthy: Redis does not answer")
    assert "pa55word" not in ended.output


def test_health_asks_nothing_of_the_platform(parts, sandbox):
    before = len(sandbox.journal())

    assert run("health").exit_code == 0

    assert len(sandbox.journal()) == before
