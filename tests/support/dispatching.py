"""Batches that are dispatched by hand, and what became of their records."""

import orjson
from support.peer import Peer, reply, speak_to

from contact_ingest import enqueue

LIST = "00000000-0000-4000-8000-000000000001"


def person(number, **more):
    return {"email": f"p{number}@example.com", "first_name": f"Name {number}", **more}


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed.public(contents=False) for failed in harness.runtime.failures}


def upserts(sandbox):
    return [entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"]


def batch_on_its_way(harness, *records):
    """Cut one batch; returns its number."""
    enqueue(list(records) or person(1))
    harness.runtime.aggregator.aggregate("sendgrid")
    runtime = harness.runtime
    return int(runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1)[-1])


def batch(harness, number):
    runtime = harness.runtime
    found = runtime.store.client.hgetall(runtime.store.keys(f"batch:{number}"))
    return {name.decode(): value.decode() for name, value in found.items()}


def dispatch(harness):
    return harness.runtime.dispatcher.dispatch("sendgrid")


def busy(harness):
    return harness.runtime.store.client.hlen(harness.runtime.store.keys("inflight"))


def due_in_s(harness, number):
    runtime = harness.runtime
    return (runtime.store.client.zscore(runtime.store.keys("due:dispatch"), number) - runtime.clock.now_ms()) / 1000


def contacts_of(request):
    return orjson.loads(b"".join(request.body))["contacts"]


class Imports:
    """A platform whose upserts meet one answer after the other, then go well, as do all imports."""

    def __init__(self, *answers):
        self.answers, self.sent = list(answers), []
        self.peer = Peer(self.answer)

    def answer(self, request):
        if request.method == "PUT":
            self.sent.append(b"".join(request.body))
            return self.answers.pop(0) if self.answers else reply(202, {"job_id": f"job-{len(self.sent)}"})
        if "/imports/" in request.url:
            return reply(200, {"status": "completed"})
        return reply(200, {"custom_fields": []})


def facing(harness, *answers):
    platform = Imports(*answers)
    speak_to(platform.peer, harness)
    return platform
