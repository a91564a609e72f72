"""Custom fields by their ids, from enqueue to the platform: one field under two names is one field."""

import orjson
import pytest
from support.peer import advance

from contact_ingest import enqueue

ANN = {"email": "ann@example.com"}
LONG = "x" * 51


@pytest.fixture
def field_id(harness, sandbox):
    """The id of the account's field `drink`."""
    provider = harness.runtime.provider
    harness.runtime.exchanger.send(provider.create_field("drink", "x"), None)
    harness.runtime.custom_fields.ready_for({})
    advance(harness.runtime, 60)
    return harness.runtime.custom_fields.cached().by_name["drink"][0]


def stored(sandbox):
    return {contact["email"]: contact for contact in sandbox.contacts()}


def drink(sandbox, field_id):
    return stored(sandbox)["ann@example.com"]["custom_fields"][field_id]


def test_the_contact_of_the_documentation_arrives_whole(harness, sandbox):
    sandbox.dials(custom_fields=[{"id": "w1", "name": "drink"}])
    whole = {
        **ANN,
        "phone_number_id": "+12015550123",
        "external_id": "ext-1",
        "anonymous_id": "anon-1",
        "address_line_1": "1 Main St.",
        "address_line_2": "",
        "city": "Springfield",
        "country": "USA",
        "first_name": "Ann",
        "last_name": "Example",
        "postal_code": "12345",
        "state_province_region": "CA",
        "alternate_emails": ["ann.two@example.com"],
        "custom_fields": {"w1": "coffee"},
    }
    enqueue(whole)
    harness.run_until_settled()

    contact = stored(sandbox)["ann@example.com"]
    assert {name: contact[name] for name in whole} == whole
    assert harness.books() | {"delivered": 1, "failed": 0} == harness.books()


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_of_two_records_at_once_the_newer_one_wins_under_either_name(harness, sandbox, field_id, order):
    names = [field_id if by_id else "Drink" for by_id in order]
    enqueue([{**ANN, "custom_fields": {name: f"cup {n}"}} for n, name in enumerate(names)])
    harness.run_until_settled()

    assert drink(sandbox, field_id) == "cup 1"
    assert harness.books() | {"accepted": 2, "delivered": 2, "failed": 0} == harness.books()
    harness.assert_books_balance()


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_retried_failure_never_overwrites_what_came_later_under_the_other_name(harness, sandbox, field_id, order):
    old, new = (field_id if by_id else "DRINK" for by_id in order)
    lane = enqueue({**ANN, "last_name": LONG, "custom_fields": {old: "old"}}).lane
    harness.run_until_settled()
    enqueue({**ANN, "custom_fields": {new: "new"}})
    harness.run_until_settled()

    [failed] = harness.runtime.failures
    assert orjson.loads(failed.raw) == {**ANN, "last_name": LONG}
    assert failed.id.startswith(lane)
    assert drink(sandbox, field_id) == "new"


def test_one_field_under_two_names_in_one_record_is_given_twice(harness, sandbox, field_id):
    enqueue({**ANN, "custom_fields": {field_id: "coffee", "drink": "tea"}})
    harness.run_until_settled()

    [failed] = harness.runtime.failures
    assert failed.code == "twice"
    assert stored(sandbox) == {}


def test_a_mapping_may_give_an_id_another_meaning(make_harness, sandbox):
    harness = make_harness(destinations={"sendgrid": {"fields": {"rename": {"custom_fields.e1_T": "line"}}}})
    provider = harness.runtime.provider
    harness.runtime.exchanger.send(provider.create_field("drink", "x"), None)
    harness.runtime.custom_fields.ready_for({})
    advance(harness.runtime, 60)
    enqueue({**ANN, "last_name": LONG, "custom_fields": {"drink": "kept"}})
    harness.run_until_settled()
    enqueue({**ANN, "custom_fields": {"e1_T": "a line"}})
    harness.run_until_settled()

    [failed] = harness.runtime.failures
    assert orjson.loads(failed.raw)["custom_fields"] == {"drink": "kept"}
    assert stored(sandbox)["ann@example.com"]["line"] == "a line"


def test_nothing_creates_a_field_whose_name_is_an_id(make_harness, sandbox):
    harness = make_harness(destinations={"sendgrid": {"unknown_fields": "create"}})
    enqueue({**ANN, "custom_fields": {"drink": "tea"}})
    harness.run_until_settled()
    [(made, _)] = harness.runtime.custom_fields.cached().by_name.values()
    advance(harness.runtime, 60)
    harness.runtime.custom_fields.ready_for({})

    assert harness.runtime.custom_fields.ready_for({made: "x", made.upper(): "x"}) == frozenset()
    enqueue([{"email": f"p{n}@example.com", "custom_fields": {made if n else "e99_T": "x"}} for n in range(3)])
    harness.run_until_settled()

    assert set(harness.runtime.custom_fields.cached().by_name) == {"drink"}
    assert [failed.code for failed in harness.runtime.failures] == ["unknown_field"]
    assert harness.books() | {"accepted": 4, "delivered": 3, "failed": 1} == harness.books()
