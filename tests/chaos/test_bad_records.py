"""Many bad records that no reply names: all of them fail in the end, no innocent does, and fresh traffic of the lane
does not wait for them."""

import random
import time

import orjson
from support.people import person
from support.stage import KEY, Stage

from contact_ingest.sandbox.process import SandboxProcess

RECORDS, BAD = 3_000, 60
FRESH_EVERY_S, MAX_FRESH_S = 1.0, 10.0
NO_LIMITS = {f"sendgrid.{name}": {"limit": 1_000_000, "window_s": 1} for name in ("upsert", "imports")}


def test_sixty_nameless_bad_records_among_three_thousand_fail_and_fresh_ones_do_not_wait(
    client, redis_server, tmp_path
):
    bad = set(random.Random(1).sample(range(RECORDS), BAD))
    dials = {"job_seconds": [0.1, 0.5], "limits": NO_LIMITS}
    came_s: dict[str, float] = {}
    took_s: list[float] = []
    with (
        SandboxProcess(key=KEY, dials=dials) as sandbox,
        Stage(redis_server.url, sandbox.url, tmp_path, POLL_FIRST_S="0.25") as stage,
    ):
        stage.enqueue(person(n, **({"last_name": "[[reject-silent]]"} if n in bad else {})) for n in range(RECORDS))
        stage.follow("aggregate", "sendgrid")
        assert stage.books()["batched"] == RECORDS
        with stage.worker(pool="prefork", concurrency=2) as worker:
            next_s, number = 0.0, 0
            ends_s = time.monotonic() + 90
            while not stage.is_settled(of=RECORDS) or came_s:
                assert time.monotonic() < ends_s, stage.books()
                stored = {contact["email"] for contact in sandbox.contacts()} if came_s else set()
                took_s += [time.monotonic() - came_s.pop(email) for email in came_s.keys() & stored]
                if time.monotonic() >= next_s and not stage.is_settled(of=RECORDS):
                    number, next_s = number + 1, time.monotonic() + FRESH_EVERY_S
                    stage.enqueue([person(number, "fresh.example")])
                    came_s[f"p{number}@fresh.example"] = time.monotonic()
                time.sleep(0.05)  # between two looks at both sides
            assert " ERROR " not in worker.log, worker.log

        failed = {orjson.loads(failure.raw)["email"] for failure in stage.runtime.failures}
        sent = [entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]
        assert failed == {f"p{n}@example.com" for n in bad}
        assert stage.books()["delivered"] == RECORDS - BAD + number
        assert sum(entry["contacts"] for entry in sent) == RECORDS - BAD + number, "an accepted contact was sent twice"
        assert max(took_s) < MAX_FRESH_S
        assert len(sent) - number < 11 * BAD
        stage.assert_books_balance()
