"""From schema 2 to schema 3: killed in the middle, run twice, refused, and in the wrong order."""

import json

import pytest
from redis.exceptions import ResponseError
from support.redis_acl import COMMANDS_OF_A_MIGRATION, allowed
from support.schema_2 import EXPECTED, PREFIX, SHORT, append_as_schema_2, content_of, engine_on, load

from contact_ingest import enqueue
from contact_ingest.cli import run
from contact_ingest.engine import set_engine
from contact_ingest.errors import SettingError
from contact_ingest.store.keys import Keys
from contact_ingest.store.migrations import MIGRATING, check_schema, claim_schema, read_schema
from contact_ingest.store.migrations.schema_3 import Migration, MigrationRefused


@pytest.fixture
def at_rest(client):
    load(client, "schema_2.json.gz")
    return client


@pytest.fixture
def engine(at_rest, redis_server):
    engine = engine_on(redis_server.url)
    set_engine(engine)
    yield engine
    engine.close()


# --- Killed, repeated, refused ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the process in the middle of a migration."""


def steps_of(client):
    done = []
    Migration(client, PREFIX, lambda what, _count: done.append(what)).run()
    return done


def test_a_migration_that_is_killed_between_any_two_steps_goes_on_when_it_is_run_again(client, monkeypatch):
    monkeypatch.setattr("contact_ingest.store.migrations.schema_3.PAGE", 20)
    monkeypatch.setattr("contact_ingest.store.migrations.schema_3.FAILURES_AT_ONCE", 5)
    load(client, "schema_2.json.gz")
    count = len(steps_of(client))
    whole = content_of(client)
    clocks = {key for key in whole if key.endswith(b"clock_offset")}
    assert count > 20

    for killed_at in range(1, count):
        client.flushall()
        load(client, "schema_2.json.gz")
        steps = []

        def progress(what, _count, steps=steps, killed_at=killed_at):
            steps.append(what)
            if len(steps) == killed_at:
                raise Killed

        with pytest.raises(Killed):
            Migration(client, PREFIX, progress).run()
        assert read_schema(client, PREFIX) == str(MIGRATING), "neither release may work on half a migration"
        Migration(client, PREFIX).run()

        found = content_of(client)
        assert found.keys() == whole.keys(), killed_at
        assert {k: v for k, v in found.items() if k not in clocks} == {
            k: v for k, v in whole.items() if k not in clocks
        }, killed_at


def test_two_migrations_at_once_move_everything_once(client, redis_server):
    """Each of two runs is held between a look and what follows from it, at every step in turn."""
    load(client, "schema_2.json.gz")
    steps = steps_of(client)
    whole = content_of(client)
    clocks = {k for k in whole if k.endswith((b"clock_last", b"clock_offset"))}

    for at in range(len(steps)):
        client.flushall()
        load(client, "schema_2.json.gz")
        seen = []

        def meanwhile(what, _count, seen=seen, at=at):
            seen.append(what)
            if len(seen) == at + 1:
                Migration(client, PREFIX).run()

        Migration(client, PREFIX, meanwhile).run()

        assert read_schema(client, PREFIX) == "3"
        found = content_of(client)
        assert {k: v for k, v in found.items() if k not in clocks} == {
            k: v for k, v in whole.items() if k not in clocks
        }, at


def test_a_run_that_looked_at_a_lane_before_another_moved_it_leaves_the_list_alone(at_rest):
    late = Migration(at_rest, PREFIX)
    keys = Keys(PREFIX, "newsletter")
    waiting = at_rest.lrange(keys("wait:newsletter"), 0, -1)
    targets = late._targets

    def overtaken(where, names):
        found = targets(where, names)
        Migration(at_rest, PREFIX)._move_lane(keys, "newsletter")
        return found

    late._targets = overtaken
    assert not late._move_lane(keys, "newsletter"), "it looked at what another run has moved since"
    late._targets = targets
    assert late._move_lane(keys, "newsletter")

    assert at_rest.lrange(keys("waiting:newsletter"), 0, -1) == waiting


def test_a_producer_of_the_older_release_is_stopped_at_a_destination_that_is_configured_and_new(at_rest):
    Migration(at_rest, PREFIX, configured=("crm",)).run()

    with pytest.raises(ResponseError):
        append_as_schema_2(at_rest, "crm", "crm")

    assert not at_rest.exists(Keys(PREFIX, "crm")("wait:crm"))


def test_a_conflict_is_found_before_anything_is_moved(at_rest):
    at_rest.set(Keys(PREFIX, "product")("version"), 7)
    before = content_of(at_rest)

    with pytest.raises(MigrationRefused, match="both"):
        Migration(at_rest, PREFIX).run()

    assert content_of(at_rest).keys() - {k.encode() for k in SHORT} == before.keys() - {k.encode() for k in SHORT}
    assert read_schema(at_rest, PREFIX) == "2"


def test_a_failure_that_no_release_can_read_is_no_reason_to_stop_midway(at_rest):
    at_rest.hset(Keys(PREFIX, "newsletter")("failed"), "newsletter:999999", b"not a failure")

    Migration(at_rest, PREFIX).run()

    assert read_schema(at_rest, PREFIX) == "3"
    assert at_rest.hget(Keys(PREFIX, "newsletter")("failures"), "newsletter:999999") == b"not a failure"


def test_a_second_run_changes_nothing(at_rest):
    Migration(at_rest, PREFIX).run()
    before = content_of(at_rest)

    assert not Migration(at_rest, PREFIX).run().is_needed

    assert content_of(at_rest) == before


def test_a_dry_run_counts_and_changes_nothing(engine, at_rest, capfd):
    before = content_of(at_rest)

    assert run(["migrate", "--dry-run", "--json"]) == 0

    said = json.loads(capfd.readouterr().out)
    lanes = [lane for lane in EXPECTED["lanes"].values() if lane["destination"] == "newsletter"]
    assert said["migrated"] is False
    assert said["destinations"]["newsletter"]["waiting"] == sum(len(lane["waiting"]) for lane in lanes)
    assert said["destinations"]["newsletter"]["batches"] == len(EXPECTED["destinations"]["newsletter"]["batches"])
    assert said["keys"] > 100
    after = content_of(at_rest)
    assert {k: v for k, v in after.items() if k.decode() not in SHORT} == {
        k: v for k, v in before.items() if k.decode() not in SHORT
    }


def test_the_command_says_what_it_has_done(engine, at_rest, capfd):
    assert run(["migrate"]) == 0

    said = capfd.readouterr().out
    assert "newsletter: " in said
    assert "are of schema 3 now" in said
    assert run(["migrate"]) == 0
    assert "Nothing to do" in capfd.readouterr().out


def test_a_batch_in_flight_is_refused_with_what_to_do_and_nothing_changes(client, engine, capfd):
    client.flushall()
    load(client, "schema_2_in_flight.json.gz")
    client.delete(f"{PREFIX}:workers")
    before = content_of(client)

    assert run(["migrate"]) == 1

    said = capfd.readouterr().err
    for words in ("1 batches in flight", "stop the producers", "contact-ingest flush --wait", "stop the workers"):
        assert words in said
    assert content_of(client) == before


def test_live_workers_are_refused_by_name_and_nothing_changes(at_rest):
    seconds, _ = at_rest.time()
    at_rest.hset(f"{PREFIX}:workers", "host:77", json.dumps([seconds - 10, 4]))

    with pytest.raises(MigrationRefused, match="workers are alive: host:77"):
        Migration(at_rest, PREFIX).run()

    assert read_schema(at_rest, PREFIX) == "2"


def test_a_key_that_has_both_names_is_refused(at_rest):
    at_rest.rpush(f"{PREFIX}:{{newsletter}}:waiting:newsletter", b'{"email":"new@example.com"}')

    with pytest.raises(MigrationRefused, match="programs of both releases have written"):
        Migration(at_rest, PREFIX).run()


def test_a_keyspace_that_is_new_or_unknown_is_left_alone(client):
    assert not Migration(client, PREFIX).run().is_needed
    assert client.dbsize() == 0
    client.set(f"{PREFIX}:schema", "7")
    with pytest.raises(MigrationRefused, match="schema 7"):
        Migration(client, PREFIX).run()


# --- The wrong order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [check_schema, claim_schema])
@pytest.mark.parametrize(
    ("schema", "says"), [("2", "contact-ingest migrate"), (str(MIGRATING), "migrate` again"), ("9", "one release only")]
)
def test_programs_of_this_release_refuse_another_schema_and_say_what_to_do(client, check, schema, says):
    client.set(f"{PREFIX}:schema", schema)

    with pytest.raises(SettingError, match=says):
        check(client, PREFIX)

    assert client.get(f"{PREFIX}:schema").decode() == schema


def test_a_worker_that_comes_before_the_migration_finds_keys_of_schema_2_without_a_number(engine, at_rest):
    at_rest.delete(f"{PREFIX}:schema")

    with pytest.raises(SettingError, match="contact-ingest migrate"):
        engine.check_schema()

    assert read_schema(at_rest, PREFIX) is None
    assert Migration(at_rest, PREFIX).run().is_needed
    engine.check_schema()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["batches"],
        ["batch", "45"],
        ["failures"],
        ["failures", "export", "-"],
        ["retry", "--all", "--dry-run"],
        ["flush"],
        ["erase", "ada@example.com", "--dry-run"],
    ],
    ids=" ".join,
)
def test_a_command_that_comes_before_the_migration_shows_nothing_of_keys_that_it_cannot_read(
    engine, at_rest, capfd, command
):
    before = content_of(at_rest)

    assert run(command) == 2

    said = capfd.readouterr()
    assert said.out == ""
    assert "contact-ingest migrate" in said.err
    after = content_of(at_rest)
    assert {k: v for k, v in after.items() if k.decode() not in SHORT} == {
        k: v for k, v in before.items() if k.decode() not in SHORT
    }


@pytest.mark.parametrize("lane", ["newsletter", "newsletter+dd00ddec", "newsletter+00000001", "product"])
def test_a_producer_of_the_older_release_fails_and_leaves_nothing_where_nobody_reads(at_rest, lane):
    destination = lane.partition("+")[0]
    assert append_as_schema_2(at_rest, destination, lane)[0] == b"ok"
    at_rest.flushall()
    load(at_rest, "schema_2.json.gz")
    Migration(at_rest, PREFIX).run()
    before = content_of(at_rest)

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        append_as_schema_2(at_rest, destination, lane)

    assert content_of(at_rest) == before
    key = Keys(PREFIX, destination)(f"wait:{lane}")
    assert at_rest.get(key) is None or b"upgrade it" in at_rest.get(key)
    assert at_rest.pttl(key) < 0


def test_thousands_of_keys_take_a_page_of_memory_and_no_command_takes_long(client):
    pipe = client.pipeline(transaction=False)
    base = f"{PREFIX}:{{big}}:"
    for number in range(20_000):
        pipe.set(f"{base}call:big:{number}:0", f"{number}:1", px=600_000)
    pipe.set(f"{PREFIX}:schema", 2)
    pipe.execute()
    (usual,) = client.config_get("slowlog-log-slower-than").values()
    client.config_set("slowlog-log-slower-than", 200_000)  # microseconds
    client.slowlog_reset()

    Migration(client, PREFIX).run()

    client.config_set("slowlog-log-slower-than", usual)
    assert client.slowlog_len() == 0
    assert 0 < client.pttl(f"{base}idempotency:big:7:0") <= 600_000
    assert sum(1 for _ in client.scan_iter(match=f"{base}idempotency:*", count=1000)) == 20_000


def test_a_producer_of_this_release_that_comes_before_the_migration_is_told_so_and_appends_nothing(engine, at_rest):
    before = content_of(at_rest)

    with pytest.raises(SettingError, match="contact-ingest migrate"):
        enqueue({"email": "early@example.com"}, "newsletter")

    after = content_of(at_rest)
    assert {k: v for k, v in after.items() if k.decode() not in SHORT} == {
        k: v for k, v in before.items() if k.decode() not in SHORT
    }


def test_a_user_with_an_acl_needs_four_more_commands_and_is_told_which(at_rest, redis_server, capfd):
    address = redis_server.url.partition("://")[2]
    engine = engine_on(f"redis://mover:secret@{address}")
    set_engine(engine)
    rules = ["reset", "on", ">secret", f"~{PREFIX}:*", *allowed(at_rest)]
    try:
        at_rest.execute_command("ACL", "SETUSER", "mover", *rules)
        assert run(["migrate"]) == 2
        assert "allow +hscan +renamenx +scan +type" in capfd.readouterr().err
        assert read_schema(at_rest, PREFIX) == "2"
        at_rest.execute_command("ACL", "SETUSER", "mover", *(f"+{command}" for command in COMMANDS_OF_A_MIGRATION))

        assert run(["migrate"]) == 0
    finally:
        engine.close()
        at_rest.execute_command("ACL", "DELUSER", "mover")
    assert read_schema(at_rest, PREFIX) == "3"


def test_without_memory_nothing_changes_and_the_command_says_what_is_needed(engine, at_rest, capfd):
    before = content_of(at_rest)
    at_rest.config_set("maxmemory", 100_000)
    try:
        assert run(["migrate"]) == 2
    finally:
        at_rest.config_set("maxmemory", 0)

    assert "raise maxmemory" in capfd.readouterr().err
    after = content_of(at_rest)
    assert {k: v for k, v in after.items() if k.decode() not in SHORT} == {
        k: v for k, v in before.items() if k.decode() not in SHORT
    }
