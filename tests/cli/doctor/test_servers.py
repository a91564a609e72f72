"""The doctor on Redis and the broker: what is wrong with a server is found, with its remedy."""

import re

import pytest
from support.diagnosis import closed_port, notes, run, wrong
from support.proxy import Proxy
from support.waiting import wait_until

from contact_ingest import enqueue
from contact_ingest.config.settings import Settings
from contact_ingest.errors import SettingError
from contact_ingest.operations.doctor import deployment, redis, refuse_unsafe_store
from contact_ingest.sandbox.redis_server import EmbeddedServer, find_binary


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
    assert "redis: Redis did not answer" in ended.output
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


@pytest.mark.parametrize("version", [b"5.0.9", b"6.0.9"])
def test_a_server_older_than_the_oldest_supported_one_is_refused(wire, redis_server, version):
    def older(reply: bytes) -> bytes:
        return re.sub(rb"redis_version:\d\.\d\.\d", b"redis_version:" + version, reply)

    with Proxy(redis_server.port, rewrite=older) as relay:
        parts = wire(f"redis://127.0.0.1:{relay.port}/0")
        with pytest.raises(
            SettingError, match=rf"^REDIS_URL: the server is Redis {version.decode()}; 6\.2 is the oldest"
        ):
            refuse_unsafe_store(parts)

    found = redis.check_version({"redis_version": version.decode()})
    assert found.level == "wrong"
    assert "older than 6.2, the oldest that is supported" in found.says


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


def test_fewer_replicas_than_an_enqueue_waits_for_are_found(wire, redis_server, client):
    client.config_set("repl-diskless-sync-delay", 60)
    wire(store_ack_replicas=1).workers.heartbeat("host:1", 4)

    says, remedy = wrong()["replicas"]

    assert says.startswith("0 are connected, of 1 ")
    assert "CONTACT_INGEST_STORE_ACK_REPLICAS" in remedy
    with EmbeddedServer(program=find_binary(), extra=["--replicaof", "127.0.0.1", str(redis_server.port)]):
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


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_a_proxy_of_the_environment_is_told_to_be_unused(parts, monkeypatch, name):
    monkeypatch.setenv(name, "http://me:s3cret@proxy.example:3128")

    assert notes()["way out"] == f"{name} set, and not read: requests to platforms go out directly"
    assert "s3cret" not in run("doctor").output


def test_without_a_proxy_nothing_is_said_of_one(parts):
    assert "way out" not in notes()


def test_the_proxy_of_the_settings_is_named_and_its_password_is_not_shown(wire):
    wire(http_proxy="http://me:s3cret@127.0.0.1:9").workers.heartbeat("host:1", 4)

    said = run("doctor").output

    assert "requests to platforms go through the one of CONTACT_INGEST_HTTP_PROXY" in said
    assert "s3cret" not in said
