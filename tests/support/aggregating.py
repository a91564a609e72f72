"""Lanes that are aggregated by hand, and what became of them."""

import orjson

LIST = "00000000-0000-4000-8000-000000000001"
CAP = 65_536


def run_round(harness, lane="sendgrid"):
    """One round over a lane; returns how many batches are due for dispatch now."""
    harness.runtime.aggregator.aggregate(lane)
    return harness.runtime.store.client.zcard(harness.runtime.store.keys("due:dispatch"))


def bodies(harness):
    """The bodies that are due for dispatch, in order."""
    runtime = harness.runtime
    numbers = map(int, runtime.store.client.zrange(runtime.store.keys("due:dispatch"), 0, -1))
    return [runtime.store.client.get(runtime.store.keys(f"batch:{number}:body")) for number in numbers]


def contacts_of(body):
    return orjson.loads(body)["contacts"]


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed for failed in harness.runtime.failures}
