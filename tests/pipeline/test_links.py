"""The newest word of a contact stands, also where its records share no identifier: other records have tied them."""

import orjson
import pytest
from fakeredis import FakeRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.peer import Peer, advance, reply, speak_to, with_http_client
from support.stage import KEY

from contact_ingest import enqueue
from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.pipeline import enqueue as door
from contact_ingest.store import aggregation
from contact_ingest.store.lanes import append
from contact_ingest.transport.auth import AuthenticatedClient

BOTH = {"email": "ann@example.com", "external_id": "17"}
EMAIL, NUMBER = ({name: value} for name, value in BOTH.items())


class Platform:
    """Takes every contact for one and the same, in the order in which requests arrive. `script` holds statuses to come:
    503 and 400 refuse a request as a whole."""

    def __init__(self):
        self.script = []
        self.values = {}
        self.sent = []

    def answer(self, request):
        if request.method != "PUT":
            return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})
        body = orjson.loads(b"".join(request.body))
        if status := (self.script.pop(0) if self.script else 0):
            return reply(status, {"errors": [{"message": "no"}], "success": False, "message": "no"})
        rows = body.get("contacts", [body])
        self.sent += rows
        for row in rows:
            self.values |= {
                name: value for name, value in row.items() if name not in ("email", "external_id", "userId")
            }
        return reply(202, {"job_id": "job-1"}) if "contacts" in body else reply(200, {"success": True, "id": "c-1"})


@pytest.fixture
def platform():
    return Platform()


@pytest.fixture(params=["sendgrid", "loops"])
def harness(request, make_harness, platform):
    settings_ = {
        "sendgrid": {},
        "loops": {"platform": "loops", "api_key": KEY, "base_url": "http://127.0.0.1:9/api"},
    }
    harness = make_harness(destinations={request.param: settings_[request.param]})
    speak_to(Peer(platform.answer), harness)
    return harness


def run(harness, *records):
    enqueue(list(records))
    harness.run_until_settled()


def look(harness):
    """Follow everything that is due now."""
    for _ in range(3):
        harness.pump()


def end(harness):
    for _ in range(8):
        advance(harness.runtime, 100)
        look(harness)
    harness.run_until_settled()
    harness.assert_books_balance()


@pytest.mark.parametrize(("older", "newer"), [(EMAIL, NUMBER), (NUMBER, EMAIL)])
def test_a_record_waits_for_an_older_one_that_shares_no_identifier_with_it(harness, platform, older, newer):
    run(harness, {**BOTH, "first_name": "v0"})
    platform.script = [503]
    enqueue({**older, "first_name": "v1"})
    look(harness)
    enqueue({**newer, "first_name": "v2"})
    look(harness)
    assert harness.books() | {"batched": 1, "held": 1} == harness.books()

    end(harness)

    assert "v2" in platform.values.values()
    assert harness.books() | {"accepted": 3, "delivered": 3, "merged": 0} == harness.books()


def test_two_of_them_that_wait_together_leave_one_after_the_other(harness, platform):
    run(harness, {**BOTH, "first_name": "v0"})
    run(harness, {**EMAIL, "first_name": "v1"}, {**NUMBER, "first_name": "v2"}, {**EMAIL, "first_name": "v3"})

    assert [name for row in platform.sent for name in row.values() if name.startswith("v")][-3:] == ["v1", "v2", "v3"]
    assert harness.books() | {"accepted": 4, "delivered": 4, "merged": 0} == harness.books()
    assert {len(set(row) & {"email", "external_id", "userId"}) for row in platform.sent[1:]} == {1}, "never joined"


@pytest.mark.parametrize(("older", "newer"), [(EMAIL, NUMBER), (NUMBER, EMAIL)])
def test_a_failed_record_keeps_what_it_says_from_a_newer_one_that_shares_no_identifier_with_it(
    harness, platform, older, newer
):
    run(harness, {**BOTH, "first_name": "v0"})
    platform.script = [400, 400]  # refused alone, and again after others had their turn
    failed = {**older, "first_name": "v1", "last_name": "kept"}
    run(harness, failed)

    run(harness, {**newer, "first_name": "v2"})

    assert [orjson.loads(found.raw) for found in harness.runtime.failures] == [failed]
    harness.assert_books_balance()


OPT_OUTS = [
    {"subscribed": False, "last_name": "x" * 600},
    {"mailing_lists": {"l": False}, "last_name": "x" * 600},
    {"subscribed": False, "mailing_lists": {"l": False}, "user_group": "x" * 600},
    {"subscribed": False, "first_name": 5},
]


@pytest.mark.parametrize("opt_out", OPT_OUTS)
@pytest.mark.parametrize("tie_is_refused", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_a_link_takes_no_opt_out_from_a_failed_record(make_harness, platform, opt_out, tie_is_refused, together):
    """The platform may have refused the record that made the link: its identifiers belong to two contacts."""
    destination = {"platform": "loops", "api_key": KEY, "base_url": "http://127.0.0.1:9/api"}
    harness = make_harness(destinations={"loops": destination})
    speak_to(Peer(platform.answer), harness)
    run(harness, EMAIL, NUMBER)
    platform.script = [400, 400] if tie_is_refused else []
    run(harness, {**BOTH, "first_name": "tie"})
    tie = [found.id for found in harness.runtime.failures]
    assert len(tie) == tie_is_refused
    failed = {**NUMBER, **opt_out}
    opt_in = {**EMAIL, "subscribed": True, "mailing_lists": {"l": True}}

    if together:
        run(harness, failed, opt_in)
    else:
        run(harness, failed)
        run(harness, opt_in)

    left = [orjson.loads(found.raw) for found in harness.runtime.failures if found.id not in tie]
    assert left == [failed]
    harness.assert_books_balance()


def test_an_opt_out_by_number_that_follows_an_opt_in_by_address_stands(make_harness, platform):
    destination = {"platform": "loops", "api_key": KEY, "base_url": "http://127.0.0.1:9/api"}
    harness = make_harness(destinations={"loops": destination})
    speak_to(Peer(platform.answer), harness)
    run(harness, {**BOTH, "subscribed": True, "mailing_lists": {"l": True}})
    platform.script = [503]
    enqueue({**EMAIL, "subscribed": True, "mailing_lists": {"l": True}})
    look(harness)
    enqueue({**NUMBER, "subscribed": False, "mailing_lists": {"l": False}})
    look(harness)

    end(harness)

    assert (platform.values["subscribed"], platform.values["mailingLists"]) == (False, {"l": False})


def test_identifiers_are_linked_over_a_third_one(make_harness, platform):
    harness = make_harness()
    speak_to(Peer(platform.answer), harness)
    phone = {"phone_number_id": "+12015550123"}
    run(harness, BOTH)
    run(harness, {**NUMBER, **phone})
    platform.script = [503]
    enqueue({**EMAIL, "city": "old"})
    look(harness)
    enqueue({**phone, "city": "new"})
    look(harness)

    end(harness)

    assert platform.values["city"] == "new"


def test_records_with_one_identifier_leave_no_links(harness):
    run(harness, *({"email": f"p{number}@example.com"} for number in range(20)))

    client, keys = harness.runtime.store.client, harness.runtime.store.keys
    assert not client.exists(keys("links"), keys("links:old"))


def test_links_are_bounded_and_lapse(harness, platform, monkeypatch):
    monkeypatch.setattr(aggregation, "MAX_LINKS", 10)

    for number in range(30):
        run(harness, {"email": f"p{number}@example.com", "external_id": str(number)})

    client, keys = harness.runtime.store.client, harness.runtime.store.keys
    assert client.hlen(keys("links")) <= 12
    assert client.hlen(keys("links:old")) <= 12
    for name in ("links", "links:old"):
        assert 0 < client.pttl(keys(name)) <= aggregation.LINKS_MS


class Roomy(FakeRedis):
    """A stand-in of the server, which has no INFO: it has room for everything."""

    def info(self, section=None):
        assert section == "memory"
        return {"used_memory": 0, "maxmemory": 0, "maxmemory_policy": "noeviction"}


def steps(about, answers):
    """Records that arrive together, what the platform answers next, whether failures go again, seconds that pass."""
    words = st.tuples(st.sampled_from(about), st.sets(st.sampled_from(["city", "country"]), min_size=1))
    step = st.tuples(
        st.lists(words, min_size=1, max_size=3),
        st.lists(st.sampled_from(answers), max_size=2),
        st.booleans(),
        st.sampled_from([0, 1, 100]),
    )
    return st.lists(step, min_size=1, max_size=6)


#: Links keep the order of records that wait. From a failed record only one that shares an identifier with it takes.
STEPS = st.one_of(
    steps([EMAIL, NUMBER, BOTH], [0, 503]), steps([EMAIL, BOTH], [0, 503, 400]), steps([NUMBER, BOTH], [0, 503, 400])
)


@pytest.mark.timeout(300)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25)
@given(STEPS)
def test_whatever_fails_on_the_way_the_newest_word_stands_in_the_end(all_steps):
    platform = Platform()
    destination = Destination(platform="sendgrid", api_key=KEY, base_url="http://127.0.0.1:9")
    settings_ = Settings(max_wait_s=0).model_copy(update={"destinations": {"sendgrid": destination}})
    engine = Engine(settings_)
    engine.client = Roomy()
    runtime = engine.runtime("sendgrid")
    http_client = AuthenticatedClient(Peer(platform.answer), runtime.provider, runtime.store)
    runtime = with_http_client(runtime, http_client)
    lane = engine.producer.lane("sendgrid")
    numbers = iter(range(1_000))
    newest = {}

    def put(records):
        options = engine.producer.enqueue_options(lane)
        door.enqueue(records, [(options, lambda call: append(runtime.store, call))])

    def work(seconds):
        advance(runtime, seconds)
        runtime.aggregator.aggregate("sendgrid")
        for _ in range(4):
            runtime.dispatcher.dispatch("sendgrid")
            runtime.poller.poll("sendgrid")

    def go_on():
        for _ in range(12):
            work(100)

    try:
        put([{**BOTH, "city": "first", "country": "first"}])
        go_on()
        for arrivals, script, again, seconds in all_steps:
            platform.script = list(script)
            if again:
                runtime.failures.retry(list(runtime.failures))
            records = [{**about, **dict.fromkeys(sorted(sets), str(next(numbers)))} for about, sets in arrivals]
            for record in records:
                newest |= {name: value for name, value in record.items() if name in ("city", "country")}
            put(records)
            work(seconds)
        platform.script = []
        go_on()
        runtime.failures.retry(list(runtime.failures))
        go_on()
        assert runtime.failures.count() == 0
        assert platform.values | newest == platform.values
    finally:
        engine.close()
