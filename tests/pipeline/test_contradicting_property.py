"""Nothing that a record says is taken by a contact that contradicts it: random records over few identifiers, some of
them refused, judged by the model of books_model.py."""

import orjson
import pytest
from fakeredis import FakeRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.books_model import unsaid
from support.state_machine import StoreMachine
from support.store_driver import LANES

from contact_ingest.store import books

PEOPLE = (
    {"email": "a@example.com"},
    {"external_id": "1"},
    {"email": "a@example.com", "external_id": "1"},
    {"email": "a@example.com", "external_id": "2"},
    {"email": "b@example.com", "external_id": "1"},
    {"email": "b@example.com", "external_id": "2"},
)
#: Whom a record is about, what it sets, and whether it breaks a rule.
RECORDS = st.tuples(
    st.sampled_from(PEOPLE), st.sets(st.sampled_from(["city", "country"])), st.integers(0, 2).map(lambda n: n == 0)
)
#: A round over one lane: its records, what the platform makes of them, whether failures go again first, days before.
ROUNDS = st.lists(
    st.tuples(
        st.sampled_from(LANES),
        st.lists(RECORDS, min_size=1, max_size=4),
        st.sampled_from(["done", "done", "named"]),
        st.booleans(),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=4,
)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


class Roomy(FakeRedis):
    """A stand-in of the server, which has no INFO: it has room for everything."""

    def info(self, section=None):
        assert section == "memory"
        return {"used_memory": 0, "maxmemory": 0, "maxmemory_policy": "noeviction"}


class Driver(StoreMachine):
    """The state machine, on an empty server in memory, moved by hand in steps of a given order."""

    def connect(self):
        return Roomy()

    def kept(self):
        """Records among the failures, as they are now."""
        blobs = self.client.hvals(self.store.keys("failures"))
        return [orjson.loads(blob.split(b"\n")[1]) for blob in blobs]


@pytest.mark.timeout(300)
@PATIENT
@given(ROUNDS)
def test_what_a_record_says_is_delivered_or_kept_unless_a_newer_record_of_its_contact_says_it(rounds):
    driver = Driver()
    driver.start()
    try:
        for lane, arrivals, end, again, days in rounds:
            driver.advance(86_400 * days)
            if again:
                driver.runtime.failures.retry(list(driver.runtime.failures))
            driver.put(lane, arrivals)
            for name in (lane.name, lane.name, LANES[0].name):
                driver.leave(name)
                driver.send("pending", 30)
                driver.follow(end, 30)
            driver.settle()
            assert list(unsaid(driver.records, driver.platform, driver.kept())) == []
            totals = books.totals(books.read(driver.store))
            assert totals["accepted"] == totals["delivered"] + totals["merged"] + totals["failed"]
            assert totals["accepted"] == len(driver.records.all)
    finally:
        driver.teardown()
