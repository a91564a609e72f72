"""The checker sees every kind of breach, and only what is one: each test is a history made by hand with one thing in it
that is wrong, beside its twin that is right."""

from dataclasses import replace
from typing import Any

import pytest
from support.checker import Failed, Found, Sent, judge

BAD = frozenset({"too_long"})
ENTRY = {"n": 1, "endpoint": "sendgrid.upsert", "bytes": 100, "contacts": 1, "note": ""}


def sent(id_: str, contact: str = "a@x", **fields: Any) -> Sent:
    return Sent(id_, contact, fields)


def books(**lanes: Any) -> dict[str, dict[str, int]]:
    return {lane: dict(counts) for lane, counts in lanes.items()}


def found(stored: dict[str, Any] | None, delivered: int = 1, **more: Any) -> Found:
    contacts = {} if stored is None else {"a@x": stored}
    accepted = delivered + sum(more.pop("counts", {}).values())
    return Found(contacts, books(one={"accepted": accepted, "delivered": delivered}), **more)


def breaches(history: list[Sent], there: Found) -> dict[str, int]:
    return {kind: count for kind, count in judge(history, there).counts.items() if count}


def test_a_run_in_which_all_arrived_breaks_nothing():
    history = [sent("one:0", city="A", name="N"), sent("one:1", city="B"), sent("one:2", "b@x", city="C")]
    there = Found(
        {"a@x": {"city": "B", "name": "N"}, "b@x": {"city": "C"}},
        books(one={"accepted": 3, "delivered": 3}),
        [{**ENTRY, "contacts": 4}],
    )

    verdict = judge(history, there)

    assert verdict.breaches == []
    assert (verdict.records, verdict.repeated) == (3, 1)


@pytest.mark.parametrize("stored", [None, {}, {"city": "A"}])
def test_a_record_that_is_nowhere_is_lost(stored):
    verdict = judge([sent("one:0", city="A", name="N")], found(stored))

    assert verdict.counts["lost"] == len(verdict.breaches) > 0
    assert all(breach.ids == ("one:0",) for breach in verdict.breaches)


def test_an_older_value_over_a_newer_one_is_stale():
    history = [sent("one:9", city="A"), sent("one:10", city="B")]

    assert breaches(history, found({"city": "A"}, 2)) == {"stale": 1}
    assert breaches(history, found({"city": "B"}, 2)) == {}


def test_a_value_that_no_record_of_the_contact_had_is_foreign():
    assert breaches([sent("one:0", city="A")], found({"city": "Z"})) == {"foreign": 1}
    both = [sent("one:0", city="A"), sent("one:1", "b@x", city="B")]
    there = Found({"a@x": {"city": "B"}, "b@x": {"city": "B"}}, books(one={"accepted": 2, "delivered": 2}))
    assert breaches(both, there) == {"foreign": 1}


def test_a_field_that_another_contact_was_to_have_is_foreign():
    both = [sent("one:0", city="A"), sent("one:1", "b@x", town="B")]
    counts = books(one={"accepted": 2, "delivered": 2})
    right = Found({"a@x": {"city": "A", "id": 7}, "b@x": {"town": "B", "city": None}}, counts)

    assert breaches(both, right) == {}
    wrong = replace(right, contacts={"a@x": {"city": "A", "town": "B"}, "b@x": {"town": "B"}})
    [breach] = judge(both, wrong).breaches
    assert (breach.kind, breach.ids) == ("foreign", ("one:1",))


def test_a_contact_of_whom_nobody_sent_a_record_is_foreign():
    there = Found({"a@x": {"city": "A"}, "k@x": {"id": 7}}, books(one={"accepted": 1, "delivered": 1}))

    assert breaches([sent("one:0", city="A")], there) == {"foreign": 1}
    assert breaches([sent("one:0", city="A")], replace(there, before={"k@x": {}})) == {}


@pytest.mark.parametrize(("seen", "wrong"), [(False, {}), (True, {"foreign": 1})])
def test_an_opt_out_stays_unless_a_record_says_otherwise(seen, wrong):
    other = sent("one:1", "b@x", subscribed=True)
    there = Found(
        {"a@x": {"city": "A", "subscribed": seen}, "b@x": {"subscribed": True}},
        books(one={"accepted": 2, "delivered": 2}),
        before={"a@x": {"subscribed": False}},
        defaults={"subscribed": True},
    )

    assert breaches([sent("one:0", city="A"), other], there) == wrong
    assert breaches([sent("one:0", city="A", subscribed=True), other], there) == ({} if seen else {"foreign": 1})


def test_what_a_new_contact_has_by_itself_is_not_foreign():
    both = [sent("one:0", city="A"), sent("one:1", "b@x", subscribed=False)]
    there = Found(
        {"a@x": {"city": "A", "subscribed": True}, "b@x": {"subscribed": False}},
        books(one={"accepted": 2, "delivered": 2}),
        defaults={"subscribed": True},
    )

    assert breaches(both, there) == {}
    assert breaches(both, replace(there, defaults={})) == {"foreign": 1}


def test_a_bad_record_that_nothing_can_take_over_is_a_failure_in_the_end():
    bad = replace(sent("one:0", "id:old", name="x" * 51), may_fail_as=BAD, stays=True)
    there = Found({"id:new": {"name": "N"}}, books(one={"accepted": 2, "delivered": 1, "failed": 1}))
    history = [bad, sent("one:1", "id:new", name="N")]

    assert breaches(history, replace(there, failures=[Failed("one:0", "too_long")])) == {}
    assert breaches(history, there)["lost"] > 0
    taken = replace(there, books=books(one={"accepted": 2, "delivered": 1, "merged": 1}))
    assert breaches(history, taken)["lost"] > 0


def test_an_empty_value_and_zero_are_values():
    history = [sent("one:0", city="A", visits=1), sent("one:1", city="", visits=0)]

    assert breaches(history, found({"city": "", "visits": 0}, 2)) == {}
    assert breaches(history, found({"city": "A", "visits": 1}, 2)) == {"stale": 2}
    assert breaches(history, found({}, 2)) == {"lost": 2}


TWO = [sent("one:0", city="A"), sent("one:1", city="B"), sent("two:0", city="C"), sent("two:1", city="D")]


@pytest.mark.parametrize(("seen", "wrong"), [("A", 1), ("B", 0), ("C", 1), ("D", 0)])
def test_of_a_contact_in_two_lanes_the_last_of_either_may_be_seen(seen, wrong):
    counts = {"accepted": 2, "delivered": 2}
    there = Found({"a@x": {"city": seen}}, books(one=counts, two=counts))

    assert judge(TWO, there).counts["stale"] == len(judge(TWO, there).breaches) == wrong


@pytest.mark.parametrize(("enqueued_s", "wrong"), [(4.0, {}), (6.0, {"stale": 1})])
def test_a_retried_failure_may_not_be_seen_over_what_another_lane_brought_after_it_had_failed(enqueued_s, wrong):
    history = [sent("one:0", city="A"), replace(sent("two:0", city="B"), at_s=enqueued_s)]
    one = {"accepted": 1, "delivered": 1}
    there = Found({"a@x": {"city": "A"}}, books(one=one, two=one), ever_failed=[Failed("one:0", "no_verdict", (), 5.0)])

    assert breaches(history, there) == wrong


def test_a_value_that_two_records_share_may_be_of_the_one_that_is_rightly_seen():
    """An empty city from a record that failed, and from one that came after all others."""
    failed = sent("one:0", city="")
    other = replace(sent("two:0", city="B"), at_s=5.0)
    there = Found(
        {"a@x": {"city": ""}},
        books(one={"accepted": 2, "delivered": 2}, two={"accepted": 1, "delivered": 1}),
        ever_failed=[Failed("one:0", "no_verdict", seen_s=2.0)],
    )

    assert breaches([failed, other, replace(sent("one:1", city=""), at_s=6.0)], there) == {}
    assert breaches([failed, other, replace(sent("one:1", town="C"), at_s=6.0)], there).get("stale") == 1


def test_a_bad_record_fails_for_its_reason_and_takes_nobody_with_it():
    bad = replace(sent("one:0", name="x" * 51), may_fail_as=BAD)
    there = found(None, 0, counts={"failed": 1}, failures=[Failed("one:0", "too_long")])

    assert breaches([bad], there) == {}
    assert breaches([replace(bad, may_fail_as=frozenset({"null"}))], there) == {"blamed": 1}
    assert breaches([replace(bad, may_fail_as=frozenset())], there) == {"blamed": 1}


def test_an_innocent_that_failed_on_the_way_was_blamed_though_it_arrived_in_the_end():
    history = [sent("one:0", city="A")]

    assert breaches(history, found({"city": "A"}, ever_failed=[Failed("one:0", "http_400")])) == {"blamed": 1}
    assert breaches(history, found({"city": "A"}, ever_failed=[Failed("one:0", "no_verdict")])) == {}


def test_a_record_merged_with_a_bad_one_is_not_blamed_for_it():
    history = [replace(sent("one:0", name="x" * 51), may_fail_as=BAD), sent("one:1", city="A")]

    failure = Failed("one:1", "too_long", ("one:0",))
    there = found(None, 0, counts={"failed": 1, "merged": 1}, failures=[failure])
    assert judge(history, there).counts["blamed"] == 0
    assert judge(history, replace(there, failures=[replace(failure, merged=())])).counts["blamed"] == 1


def test_a_record_merged_with_a_failure_is_a_failure_and_not_lost():
    history = [sent("one:0", city="A"), sent("one:1", town="B")]
    there = found(None, 0, counts={"failed": 1, "merged": 1}, failures=[Failed("one:1", "http_400", ("one:0",))])

    assert breaches(history, there) == {"blamed": 1}
    assert breaches(history, replace(there, failures=[Failed("one:1", "http_400")])) == {"blamed": 1, "lost": 1}


def test_a_failure_without_a_verdict_that_no_retry_delivered_is_lost():
    there = found(None, 0, counts={"failed": 1}, failures=[Failed("one:0", "no_verdict")])

    assert breaches([sent("one:0", city="A")], there) == {"lost": 1}
    assert breaches([replace(sent("one:0", city="A"), may_fail_as=BAD)], there) == {}


def test_a_bad_record_may_be_out_of_sight_only_where_it_was_counted():
    bad = replace(sent("one:0", name="[[fail]]"), may_fail_as=BAD)
    fine = Found({}, books(one={"accepted": 1, "delivered": 1, "unattributed": 1}))

    assert breaches([bad], fine) == {}
    assert breaches([bad], replace(fine, books=books(one={"accepted": 1, "delivered": 1}))) == {"lost": 1}


def test_a_bad_record_may_be_taken_over_by_a_newer_one():
    bad = replace(sent("one:0", name="[[fail]]"), may_fail_as=BAD)

    assert breaches([bad, sent("one:1", name="N")], found({"name": "N"}, 2)) == {}


def test_a_cancelled_record_may_be_out_of_sight_only_where_it_was_counted_as_discarded():
    gone = replace(sent("one:0", city="A"), may_vanish=True)
    discarded = Found({}, books(one={"accepted": 1, "discarded": 1}))

    assert breaches([gone], discarded) == {}
    assert breaches([gone], found({"city": "A"})) == {}
    assert breaches([gone], found(None))["lost"] > 0
    assert breaches([sent("one:0", city="A")], discarded) == {"lost": 1}


def test_a_cancelled_or_bad_record_may_not_be_seen_over_a_newer_one():
    newer = sent("one:1", city="B")

    for older in (replace(sent("one:0", city="A"), may_vanish=True), replace(sent("one:0", city="A"), may_fail_as=BAD)):
        assert breaches([older, newer], found({"city": "A"}, 2)) == {"stale": 1}
        assert breaches([older, newer], found({"city": "B"}, 2)) == {}


def test_rows_are_unattributed_only_where_something_bad_was_sent():
    there = Found({"a@x": {"city": "A"}}, books(one={"accepted": 1, "delivered": 1, "unattributed": 1}))

    assert breaches([sent("one:0", city="A")], there) == {"lost": 1}


@pytest.mark.parametrize("name", ["waiting", "held", "batched"])
def test_what_never_comes_to_an_end_is_lost(name):
    there = Found({"a@x": {"city": "A"}}, books(one={"accepted": 1, name: 1}))

    assert breaches([sent("one:0", city="A")], there) == {"lost": 1}


@pytest.mark.parametrize("accepted", [0, 2])
def test_books_that_say_another_number_than_was_accepted_are_wrong(accepted):
    there = Found({"a@x": {"city": "A"}}, books(one={"accepted": accepted, "delivered": accepted}))

    assert breaches([sent("one:0", city="A")], there) == {"lost": 1}


def test_every_complaint_about_the_books_counts():
    assert breaches([sent("one:0", city="A")], found({"city": "A"}, wrong_books=["sample 7", "recount"])) == {"lost": 2}


def test_a_failure_of_a_record_that_nobody_sent_is_a_breach():
    there = found({"city": "A"}, failures=[Failed("one:7", "no_verdict")])

    assert judge([sent("one:0", city="A")], there).counts["lost"] > 0


@pytest.mark.parametrize(
    ("entry", "kind"),
    [({"bytes": 201}, "oversize"), ({"contacts": 4}, "oversize"), ({"note": "limit"}, "over_limit")],
)
def test_a_request_too_large_or_too_soon_is_a_breach(entry, kind):
    there = found({"city": "A"}, journal=[ENTRY, {**ENTRY, **entry}], max_bytes=200, max_contacts=3)

    assert breaches([sent("one:0", city="A")], there) == {kind: 1}


def test_a_breach_says_what_was_seen_and_names_its_records():
    history = [sent("one:0", city="A"), sent("one:1", city="B")]

    [breach] = judge(history, found({"city": "A"}, 2)).breaches

    assert str(breach) == "stale: city is of one:0, and newer are one:1"
