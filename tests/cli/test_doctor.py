"""The doctor finds each thing that can be wrong with an install, says what to do, and exits 1; otherwise 0."""

import os
import re
import signal
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import typer
from celery import Celery
from support.people import person
from support.proxy import Proxy
from support.stage import Stage
from support.traps import Traps
from support.waiting import wait_until
from typer.testing import CliRunner

from contact_ingest import enqueue
from contact_ingest.cli.doctor import register
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.operations.doctor import broker, deployment, redis
from contact_ingest.sandbox.redis_server import EmbeddedServer

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
    made: list[Engine] = []

    def make(url: str = "", *, destination: dict[str, Any] | None = None, **settings: Any) -> Engine:
        given = {"platform": "sendgrid", "api_key": KEY, "base_url": sandbox.url, **(destination or {})}
        base = Settings(REDIS_URL=url or redis_server.url, **{"max_wait_s": 0, **settings})
        parts = Engine(base.model_copy(update={"destinations": {LANE: Destination(**given)}}))
        set_engine(parts)
        made.append(parts)
        return parts

    yield make
    for parts in made:
        parts.close()


@pytest.fixture
def parts(wire):
    """All is well: a server, an account, a worker that ticks."""
    parts = wire()
    parts.workers.heartbeat("host:1", 4)
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
    assert "celery -A contact_ingest.tasks worker" in ended.output
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
    wire(CELERY_BROKER_URL=f"redis://127.0.0.1:{closed_port()}/0").workers.heartbeat("host:1", 4)

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

    with Proxy(redis_server.port, rewrite=older) as relay:
        wire(f"redis://127.0.0.1:{relay.port}/0").workers.heartbeat("host:1", 4)
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
    found = redis.check_version(info)

    assert found.level == "wrong"
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "info",
    [
        *({"redis_version": version} for version in ("6.2.20", "7.2.11", "7.4.9", "8.0.4", "8.2.6", "8.4.3", "9.0.0")),
        *({"redis_version": "7.2.4", "valkey_version": version} for version in ("7.2.11", "8.0.6", "8.1.7", "9.0.0")),
    ],
)
def test_a_mended_server_passes(info):
    assert redis.check_version(info).level == "ok"


@pytest.mark.parametrize(
    ("info", "remedy"),
    [
        ({"redis_version": "7.4.8"}, "7.4.9"),
        ({"redis_version": "8.2.5"}, "8.2.6"),
        ({"redis_version": "8.4.2"}, "8.4.3"),
        ({"redis_version": "8.6.2"}, "8.6.3"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.6"}, "8.1.7"),
    ],
)
def test_a_server_with_later_holes_is_worth_a_note(info, remedy):
    found = redis.check_version(info)

    assert found.level == "note"
    assert remedy in found.remedy


def test_a_clock_that_is_off_is_found(wire, redis_server):
    def late(reply: bytes) -> bytes:
        ago = lambda found: b"%b%d\r\n" % (found[1], int(found[2]) - 60)  # noqa: E731
        return re.sub(rb"(\*2\r\n\$10\r\n)(\d{10})\r\n", ago, reply)

    with Proxy(redis_server.port, rewrite=late) as relay:
        wire(f"redis://127.0.0.1:{relay.port}/0").workers.heartbeat("host:1", 4)
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
    parts.workers.heartbeat("host:1", 4)
    client.hset("contact-ingest:workers", "host:1", orjson.dumps([client.time()[0] - 20, 4]))

    assert "celery -A contact_ingest.tasks worker" in wrong()["workers"][1]


def test_messages_that_nobody_takes_are_found(wire, client):
    wire()
    client.lpush("contact-ingest:broker:contacts", *["bell"] * 101)

    assert "101" in wrong()["broker"][0]


def test_a_long_queue_is_no_finding_while_workers_live(parts, client):
    client.lpush("contact-ingest:broker:contacts", *["bell"] * 101)

    assert run("doctor").exit_code == 0


@pytest.fixture
def bells(client):
    """`bells(late_s)`: real messages that expired so long ago, in the broker of the install."""

    def make(late_s: float, task: str = "contacts.dispatch") -> None:
        with Celery("elsewhere", broker=client_url(client), set_as_current=False) as app:
            options = {"global_keyprefix": "contact-ingest:broker:", "priority_steps": [0]}
            app.conf.update(broker_transport_options=options, task_default_queue="contacts")
            for _ in range(3):
                app.send_task(task, ["sendgrid"], expires=datetime.now(UTC) - timedelta(seconds=late_s))

    return make


def client_url(client) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def test_a_worker_that_ticks_while_its_pool_takes_nothing_is_found(parts, bells):
    bells(30)
    for _ in range(20):
        bells(-30)

    says, remedy = wrong()["broker"]

    assert says.startswith("63 messages wait in the queue, and the oldest expired 3")
    assert "restart the workers" in remedy


def test_a_real_pool_that_hangs_leaves_its_bells_and_one_that_goes_on_takes_them(
    redis_server, client, sandbox, tmp_path, bells
):
    traps = Traps(tmp_path / "traps")
    traps.set("aggregate_commit.before", "STOP")
    with (
        Stage(redis_server.url, sandbox.url, tmp_path, "contact-ingest", TRAPS=str(traps.directory)) as stage,
        stage.worker(pool="prefork", concurrency=1),
    ):
        stage.enqueue([person(1)])
        # One bell has gone to the pool, which cannot take another; the next lies there, and grows old.
        wait_until(lambda: traps.strikes() and client.llen(stage.queue) > 0)
        bells(30)
        [found] = broker.check_broker(stage.engine)
        assert found.level == "wrong"
        assert "their pools hang" in found.says

        os.kill(traps.strikes()[0].pid, signal.SIGCONT)
        stage.wait_until_settled(1)
        wait_until(lambda: [one.level for one in broker.check_broker(stage.engine)] == ["ok"])


def test_bells_that_have_not_expired_for_long_and_strange_messages_are_no_finding(parts, bells, client):
    bells(-30)
    bells(1)
    for stranger in (b"bell", b"[]", b"7", b'{"headers":{"expires":"soon"}}', b'{"headers":[]}'):
        client.lpush("contact-ingest:broker:contacts", stranger)

    assert run("doctor").exit_code == 0


def test_a_refused_key_is_found_and_never_shown(wire):
    wire(destination={"api_key": "SG.wr0ng"}).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "key is refused (401)" in says
    assert "destinations.sendgrid.api_key" in remedy
    assert "wr0ng" not in run("doctor").output


def test_a_platform_that_cannot_be_reached_is_found(wire):
    wire(destination={"base_url": f"http://127.0.0.1:{closed_port()}"}).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["sendgrid: account"]

    assert "cannot be reached" in says
    assert "base_url" in remedy


def test_a_stopped_destination_is_found_with_the_reason(parts):
    parts.runtime(LANE).state.stop("unauthorized", "the key was revoked")

    says, remedy = wrong()["sendgrid: state"]

    assert says == "stopped: the key was revoked"
    assert "contact-ingest resume --to sendgrid" in remedy


def test_a_paused_destination_and_a_paused_lane_are_found_with_the_reason(parts):
    enqueue({"email": "a@example.com"})
    parts.runtime(LANE).state.pause(None, "moving house")
    parts.runtime(LANE).state.pause(LANE, "wrong list")

    found = wrong()

    assert found["sendgrid: state"][0] == "paused: moving house"
    assert found["lane sendgrid"] == ("paused: wrong list", "`contact-ingest resume --lane sendgrid`")


def test_batches_that_nobody_takes_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    healthy = run("doctor")
    assert healthy.exit_code == 0
    assert "sendgrid: batches: 1 to send, 0 followed" in healthy.stdout

    client.set(runtime.store.keys("clock_offset"), round(3 * parts.settings.lease_s * 1000) + 1000)

    says, remedy = wrong()["sendgrid: batches"]
    assert says.startswith("1 have been due")
    assert "worker" in remedy


def test_imports_followed_past_their_deadline_are_found(wire, client, sandbox):
    sandbox.dials(job_seconds=[60, 60])
    parts = wire(poll_deadline_s=10, lease_s=10)
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    runtime.aggregator.aggregate(LANE)
    runtime.dispatcher.dispatch(LANE)
    client.set(runtime.store.keys("clock_offset"), 41_000)
    client.zadd(runtime.store.keys("due:poll"), {1: runtime.clock.now_ms() + 60_000})
    parts.workers.heartbeat("host:1", 4)

    assert "1 imports are past the deadline of 10 s" in wrong()["sendgrid: batches"][0]


def test_a_lane_that_is_due_and_that_nobody_cuts_is_found(parts, client):
    enqueue({"email": "a@example.com"})
    runtime = parts.runtime(LANE)
    client.set(runtime.store.keys("clock_offset"), 59_000)
    assert run("doctor").exit_code == 0
    client.set(runtime.store.keys("clock_offset"), 90_000)

    says, remedy = wrong()["lane sendgrid"]

    assert says.startswith("has been due for 90 s")
    assert "contacts.aggregate" in remedy
    runtime.state.pause(LANE, "for a test")
    assert wrong()["lane sendgrid"][0].startswith("paused")


def test_a_lane_whose_records_wait_for_long_with_nothing_in_flight_is_found(parts, client):
    """Nobody gets at the account's definitions, so that the lane is looked at again and again, and never cut."""
    enqueue({"email": "a@example.com", "custom_fields": {"plan": "pro"}})
    runtime = parts.runtime(LANE)
    client.set(runtime.store.keys("clock_offset"), 90_000)
    runtime.schedule.arm(LANE, 5_000)

    found = wrong()

    assert found["lane sendgrid"][0].startswith(
        "its oldest record has waited for 90 s, and nothing is in flight: waiting for the account's field definitions"
    )


@pytest.fixture
def refused_for_a_field(parts, sandbox):
    """Two records have failed and one waits, for custom fields that the account lacks; others are all right."""
    runtime = parts.runtime(LANE)
    runtime.exchanger.send(runtime.provider.create_field("Known", "x"), None)
    enqueue({"email": f"p{n}@example.com", "custom_fields": {"plan": "secret"}} for n in range(2))
    enqueue({"email": "p3@example.com", "last_name": "x" * 51})
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    assert len(list(runtime.failures)) == 3
    runtime.state.pause(LANE, "for a test")
    enqueue([{"email": "p4@example.com", "custom_fields": {"tier": "secret", "Known": "x"}}, {"email": "p5@x.example"}])
    return runtime


def test_custom_fields_that_the_account_lacks_are_found_by_failures_and_by_what_waits(refused_for_a_field):
    says, remedy = wrong()["sendgrid: custom fields"]

    assert says == (
        "2 of the latest failures and 1 of the first records that wait name what the account lacks: plan, tier"
    )
    assert "destinations.sendgrid.unknown_fields" in remedy
    assert "contact-ingest retry --to sendgrid --code unknown_field" in remedy


def test_fields_that_failures_name_are_told_though_the_account_does_not_answer(refused_for_a_field, sandbox):
    runtime = refused_for_a_field
    runtime.state.resume(LANE)
    enqueue({"email": "p6@example.com", "custom_fields": {"Known": 7}})
    runtime.custom_fields.ready_for({})
    runtime.aggregator.aggregate(LANE)
    assert {failure.code for failure in runtime.failures} == {"unknown_field", "too_long", "wrong_type"}
    sandbox.dials(auth_down=True)

    assert wrong()["sendgrid: custom fields"][0] == "3 of the latest failures name what the account lacks: plan, tier"


def test_fields_that_have_been_created_since_are_no_finding(refused_for_a_field):
    runtime = refused_for_a_field
    for name in ("plan", "tier"):
        runtime.exchanger.send(runtime.provider.create_field(name, "x"), None)

    assert "sendgrid: custom fields" not in wrong()


def test_fields_that_a_destination_renames_drops_or_creates_are_no_finding(wire):
    rules = {"rename": {"custom_fields.plan": "first_name"}, "drop": ["custom_fields.tier"]}
    wire(destination={"fields": rules, "unknown_fields": "create"}).workers.heartbeat("host:1", 4)
    enqueue([{"email": "a@example.com", "custom_fields": {"plan": "x", "tier": "y", "level": "z"}}])

    assert run("doctor").exit_code == 0


def test_values_that_were_left_out_are_worth_a_note(parts, client):
    enqueue({"email": "a@example.com"})
    client.hincrby(parts.runtime(LANE).store.keys(f"books:{LANE}"), "dropped", 12)

    assert notes()["sendgrid: custom fields"].startswith("12 values have been left out")


def test_failures_near_the_end_of_their_time_are_found(wire, client):
    parts = wire(keep_failures_s=1000)
    parts.workers.heartbeat("host:1", 4)
    enqueue({"email": "a@example.com", "last_name": "x" * 51})
    runtime = parts.runtime(LANE)
    runtime.aggregator.aggregate(LANE)
    client.set(runtime.store.keys("clock_offset"), 890_000)
    assert run("doctor").exit_code == 0
    client.set(runtime.store.keys("clock_offset"), 910_000)

    says, remedy = wrong()["sendgrid: failures"]

    assert says.startswith("1 of 1 are about to be discarded, the first in ")
    assert "CONTACT_INGEST_KEEP_FAILURES_S" in remedy


def test_fewer_replicas_than_an_enqueue_waits_for_are_found(wire, redis_server, client):
    client.config_set("repl-diskless-sync-delay", 60)
    wire(store_ack_replicas=1).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["replicas"]

    assert says.startswith("0 are connected, of 1 ")
    assert "CONTACT_INGEST_STORE_ACK_REPLICAS" in remedy
    with EmbeddedServer(extra=["--replicaof", "127.0.0.1", str(redis_server.port)]):
        wait_until(lambda: client.info("replication")["connected_slaves"] == 1)
        assert wrong()["replicas"][0].startswith("0 are connected"), "it has nothing yet"
        client.config_set("repl-diskless-sync-delay", 0)
        wait_until(lambda: run("doctor").exit_code == 0)


def test_replicas_that_the_acl_forbids_to_wait_for_are_found(wire, redis_server, client):
    client.execute_command("ACL", "SETUSER", "app", "on", ">pa55word", "~contact-ingest:*", "&*", "+@all", "-wait")
    try:
        wire(f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0", store_ack_replicas=1).workers.heartbeat(
            "host:1", 4
        )
        assert "+wait" in wrong()["replicas"][1]
    finally:
        client.execute_command("ACL", "DELUSER", "app")


def test_the_room_of_the_server_is_worth_a_note_before_it_is_short(parts, client):
    assert notes()["maxmemory"].startswith("none is set")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.76))

    assert "above 80% producers are refused" in notes()["maxmemory"]

    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 2))
    assert "maxmemory" not in notes()


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("redis://redis.example:6379/0", "note"),
        ("redis://:pa55word@10.0.0.7/0", "note"),
        ("amqp://broker.example//", "note"),
        ("rediss://redis.example:6380/0", "ok"),
        ("redis://127.0.0.1:6379/0", None),
        ("redis://localhost", None),
        ("redis://[::1]:6379", None),
        ("unix:///run/redis.sock", None),
        ("sqs://", None),
    ],
)
def test_contacts_that_travel_in_clear_to_another_machine_are_worth_a_note(url, level):
    found = list(deployment.check_encryption(Settings(CELERY_BROKER_URL=url)))

    assert [finding.level for finding in found] == ([level] if level else [])
    if level == "note":
        assert found[0].about == "CELERY_BROKER_URL: encryption"
        assert "s://" in found[0].remedy
        assert "pa55word" not in str(found)


def test_staged_bodies_without_an_expiry_are_found(parts, client):
    k = parts.runtime(LANE).store.keys
    client.set(k("batch_seq"), 3)
    client.set(k("batch:2:body"), b"{}", px=60_000)
    assert run("doctor").exit_code == 0

    client.persist(k("batch:2:body"))

    assert wrong()["sendgrid: staged bodies"][0].startswith("1 belong to no batch")


def test_a_lane_that_is_nearly_full_is_found(wire):
    wire(max_lane_bytes=1_000_000).workers.heartbeat("host:1", 4)
    enqueue({"email": f"p{i}@example.com", "first_name": "x" * 1000} for i in range(800))

    says, remedy = wrong()["lane sendgrid"]

    assert "full" in says
    assert "CONTACT_INGEST_MAX_LANE_BYTES" in remedy


def test_books_that_do_not_balance_are_found(parts, client):
    enqueue({"email": "a@example.com"})
    client.hincrby(parts.runtime(LANE).store.keys(f"books:{LANE}"), "delivered", 1)

    assert "accepted 1 is not the sum" in wrong()["books of sendgrid"][0]


def test_books_that_keys_contradict_are_found_by_a_recount(parts, client):
    enqueue({"email": "a@example.com"})
    client.rpush(parts.runtime(LANE).store.keys(f"waiting:{LANE}"), b"{}")
    assert run("doctor").exit_code == 0

    assert "the books say 1 waiting, the keys 2" in wrong("--books")["books of sendgrid"][0]


def test_what_an_acl_forbids_is_a_note_and_no_finding(wire, redis_server, client):
    client.execute_command(
        "ACL", "SETUSER", "app", "on", ">pa55word", "~contact-ingest:*", "&*", "+@all", "-config", "-info"
    )
    try:
        wire(f"redis://app:pa55word@127.0.0.1:{redis_server.port}/0").workers.heartbeat("host:1", 4)
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
        wire(url, CELERY_BROKER_URL=url, max_wait_s=7).workers.heartbeat("host:1", 4)
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
    monkeypatch.setattr("contact_ingest.engine._made", {})
    monkeypatch.setattr("contact_ingest.pipeline.producer._made", {})
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


def test_failures_that_take_much_of_the_memory_are_found(parts, client):
    enqueue([{"email": f"p{number}@example.com", "first_name": "x" * 10_000} for number in range(2_000)])
    while client.llen(parts.runtime("sendgrid").store.keys("waiting:sendgrid")):  # a round refuses some megabytes
        parts.runtime("sendgrid").aggregator.aggregate("sendgrid")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 2))

    says, remedy = wrong()["sendgrid: failures"]

    assert says.startswith("2,000, about ")
    assert "20%" in says
    assert "contact-ingest failures" in remedy
    client.config_set("maxmemory", 100 * int(client.info("memory")["used_memory"]))
    assert run("doctor").exit_code == 0
