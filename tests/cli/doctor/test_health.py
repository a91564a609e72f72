"""The doctor as a health check, the settings it shows, and what an ACL forbids it."""

import orjson
from support.diagnosis import KEY, closed_port, notes, run


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
    assert ended.output.startswith("not healthy: Redis did not answer")
    assert "pa55word" not in ended.output


def test_health_asks_nothing_of_the_platform(parts, sandbox):
    before = len(sandbox.journal())

    assert run("health").exit_code == 0

    assert len(sandbox.journal()) == before


def test_health_speaks_of_the_workers_of_this_machine_unless_asked_for_the_fleet(wire):
    engine = wire()
    engine.workers.heartbeat("another-machine:7", 4)

    here, fleet = run("health"), run("health", "--fleet")

    assert (here.exit_code, fleet.exit_code) == (1, 0)
    assert "no worker of this machine" in here.output
    assert "--fleet" in here.output
    assert "workers: 1" in fleet.output
