"""A contact that contradicts another one in an identifier takes nothing from it: not from its failures, not in merges.

Each platform against its sandbox, each with the identifiers that it counts.
"""

import orjson
import pytest
from support.peer import Peer, advance, reply, speak_to
from support.stage import KEY

from contact_ingest import enqueue

#: A last name that every platform refuses before it is sent.
LONG = "x" * 600
SHARED = "r@example.com"
EMARSYS = {"platform": "emarsys", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
EXTERNAL_ID = {"id": 4711, "name": "Customer", "kind": "shorttext", "indexed": True}


@pytest.fixture
def make(make_harness, sandbox):
    """Makes an engine whose only destination is of this platform."""
    sandbox.dials(
        limits={name: {"limit": 10_000, "window_s": 1} for name in ("sendgrid.upsert", "loops", "emarsys")},
        emarsys_fields=[EXTERNAL_ID],
        loops_cross_match="email",
        loops_user_id_alone="create",
        loops_lists={"list-1": "One", "list-2": "Two"},
    )
    settings = {
        "sendgrid": {},
        "loops": {"platform": "loops", "api_key": KEY, "base_url": f"{sandbox.url}/api"},
        "emarsys": {**EMARSYS, "base_url": f"{sandbox.url}/api", "token_url": f"{sandbox.url}/oauth2/token"},
    }

    def make_(platform, **more):
        return make_harness(destinations={platform: {**settings[platform], **more}})

    return make_


def run(harness, *records):
    assert not enqueue(list(records)).refused
    harness.run_until_settled()


def failed(harness):
    """What has failed, and why."""
    return [(found.code, orjson.loads(found.raw)) for found in harness.runtime.failures]


def accept_all(harness):
    """Let the platform be a SendGrid that minds nothing about identifiers."""

    def answer(request):
        if request.method == "PUT":
            return reply(202, {"job_id": "job-1"})
        return reply(200, {"status": "completed"} if "/imports/" in request.url else {"custom_fields": []})

    speak_to(Peer(answer), harness)


def retry_all(harness):
    harness.runtime.failures.retry(list(harness.runtime.failures))
    harness.run_until_settled()


@pytest.mark.parametrize("platform", ["sendgrid", "loops"])
@pytest.mark.parametrize("days", [0, 3])
def test_a_contact_that_shares_the_address_and_has_another_id_takes_nothing(make, platform, days):
    harness = make(platform)
    older = {"external_id": "r-2", "email": SHARED, "first_name": "Old", "last_name": LONG}
    newer = {"external_id": "r-1", "email": SHARED, "first_name": "New", "last_name": "Ok"}

    if days:
        run(harness, older)
        for _ in range(days):
            advance(harness.runtime, 86_400)
            run(harness, newer)
    else:
        run(harness, older, newer)

    assert failed(harness) == [("too_long", older)]
    assert harness.books() | {"accepted": 1 + max(1, days), "delivered": max(1, days), "failed": 1} == harness.books()
    harness.assert_books_balance()


#: Two contacts each: what they share, and in what they differ.
PAIRS = {
    "sendgrid": [
        ({"external_id": "c-1", "email": "one@example.com"}, {"external_id": "c-1", "email": "two@example.com"}),
        (
            {"phone_number_id": "+12015550123", "anonymous_id": "a"},
            {"phone_number_id": "+12015550123", "anonymous_id": "b"},
        ),
        (
            {"email": SHARED, "phone_number_id": "+12015550123"},
            {"email": SHARED, "external_id": "9", "phone_number_id": "+12015550124"},
        ),
        ({"email": SHARED, "external_id": 12}, {"email": SHARED, "external_id": "13"}),
        ({"email": "nobody", "external_id": "c-1"}, {"email": SHARED, "external_id": "c-1"}),
    ],
    "loops": [
        ({"external_id": "c-1", "email": "one@example.com"}, {"external_id": "c-1", "email": "two@example.com"}),
        ({"email": SHARED, "external_id": ["r-2"]}, {"email": SHARED, "external_id": "r-2"}),
    ],
}


@pytest.mark.parametrize("in_one_round", [False, True])
@pytest.mark.parametrize(("platform", "pair"), [(name, pair) for name, pairs in PAIRS.items() for pair in pairs])
def test_whatever_two_contacts_share_neither_takes_from_the_other(make, platform, pair, in_one_round):
    harness = make(platform)
    older = {**pair[0], "first_name": "Old", "last_name": LONG}
    newer = {**pair[1], "first_name": "New", "last_name": "Ok"}

    if in_one_round:
        run(harness, older, newer)
    else:
        run(harness, older)
        run(harness, newer)

    assert [raw for _, raw in failed(harness)] == [older]
    assert harness.books() | {"accepted": 2, "delivered": 1, "failed": 1, "merged": 0} == harness.books()
    harness.assert_books_balance()


def test_a_failed_opt_out_is_not_taken_by_the_opt_in_of_another_contact(make, sandbox):
    harness = make("loops")
    opt_out = {
        "external_id": "r-2",
        "email": SHARED,
        "subscribed": False,
        "mailing_lists": {"list-1": False, "list-2": True},
        "last_name": LONG,
    }
    opt_in = {"external_id": "r-1", "email": SHARED, "subscribed": True, "mailing_lists": {"list-1": True}}

    run(harness, opt_out)
    run(harness, opt_in)
    retry_all(harness)

    assert failed(harness) == [("too_long", opt_out)]


def test_a_failed_opt_out_of_the_same_contact_gives_way_to_its_newer_word(make):
    harness = make("loops")
    run(harness, {"external_id": "r-2", "email": SHARED, "subscribed": False, "last_name": LONG})

    run(harness, {"email": SHARED, "subscribed": True})

    assert failed(harness) == [("too_long", {"external_id": "r-2", "email": SHARED, "last_name": LONG})]


def test_a_link_that_the_platform_refused_takes_no_opt_out_from_the_other_contact(make, sandbox):
    harness = make("loops")
    ann, bob = {"email": "ann@example.com"}, {"external_id": "bob"}
    sandbox.dials(loops_cross_match="400")
    run(harness, ann, bob)
    run(harness, {**ann, **bob, "first_name": "x"})
    assert harness.runtime.failures.count() == 1
    opt_out = {**bob, "subscribed": False, "last_name": LONG}
    run(harness, opt_out)

    run(harness, {**ann, "subscribed": True})

    assert ("too_long", opt_out) in failed(harness)
    assert harness.books() | {"accepted": 5, "delivered": 3, "failed": 2} == harness.books()


def test_a_retried_record_that_waits_loses_nothing_to_another_contact(make, sandbox):
    """The failure is retried while a record with its address is in flight; then a contradicting one is sent."""
    harness = make("sendgrid")
    older = {"external_id": "r-2", "email": SHARED, "first_name": "Old", "last_name": LONG}
    run(harness, older)
    sandbox.dials(job_seconds=[0.3, 0.3])
    enqueue({"email": SHARED, "city": "Oslo"})
    harness.run_until(lambda: harness.books()["batched"] == 1)
    assert harness.runtime.failures.retry(list(harness.runtime.failures)) == 1
    enqueue([{"external_id": "r-1", "email": SHARED, "first_name": "New", "last_name": "Ok"}, {"email": "q@x.org"}])

    harness.run_until_settled()

    assert failed(harness) == [("too_long", older)]
    assert harness.books() | {"accepted": 4, "delivered": 3, "failed": 1} == harness.books()
    harness.assert_books_balance()


def test_a_record_that_the_platform_refused_is_not_taken_either(make, sandbox):
    harness = make("sendgrid")
    older = {"external_id": "r-2", "email": SHARED, "city": "Oslo", "last_name": "[[fail-import]]"}
    run(harness, older)

    run(harness, {"external_id": "r-1", "email": SHARED, "city": "Rome", "last_name": "Ok"})

    assert [raw for _, raw in failed(harness)] == [older]
    harness.assert_books_balance()


@pytest.mark.parametrize("platform", ["sendgrid", "loops"])
def test_a_failed_record_with_nothing_but_identifiers_stays_until_a_newer_one_has_all_of_them(make, platform):
    harness = make(platform)
    if platform == "sendgrid":
        accept_all(harness)
    pair = {"external_id": "r-2", "email": SHARED}
    run(harness, {**pair, "last_name": LONG})

    for newer in ({"email": SHARED, "last_name": "Ok"}, {"external_id": "r-2", "last_name": "Ok"}):
        run(harness, newer)
        assert [raw for _, raw in failed(harness)] == [pair]
    run(harness, {"external_id": "r-1", "email": SHARED, "last_name": "Other"})
    assert [raw for _, raw in failed(harness)] == [pair]
    assert harness.books() | {"accepted": 4, "delivered": 3, "failed": 1, "merged": 0} == harness.books()

    run(harness, {**pair, "first_name": "Ann"})

    assert failed(harness) == []
    assert harness.books() | {"accepted": 5, "delivered": 4, "failed": 0, "merged": 1} == harness.books()
    harness.assert_books_balance()


def test_two_newer_records_that_have_one_identifier_each_do_not_supersede_what_ties_them(make):
    harness = make("sendgrid")
    run(harness, {"external_id": "r-2", "email": SHARED, "last_name": LONG})

    run(harness, {"email": SHARED, "last_name": "A"}, {"external_id": "r-2", "last_name": "B"})

    assert [raw for _, raw in failed(harness)] == [{"external_id": "r-2", "email": SHARED}]


MAPPING = {"rename": {"customer_no": "external_id", "custom_fields.mail": "email"}}


def test_identifiers_under_names_that_the_field_mapping_changes_are_identifiers(make):
    harness = make("sendgrid", fields=MAPPING)
    accept_all(harness)
    phone = {"phone_number_id": "+12015550123"}
    older = {**phone, "customer_no": "r-2", "city": "Oslo", "last_name": LONG}
    run(harness, older)

    run(harness, {**phone, "customer_no": "r-1", "city": "Rome", "last_name": "Ok"})
    assert failed(harness) == [("too_long", older)]

    run(harness, {**phone, "customer_no": "r-2", "custom_fields": {"mail": SHARED}, "city": "Rome"})
    assert failed(harness) == [("too_long", {**phone, "customer_no": "r-2", "last_name": LONG})]

    run(harness, {**phone, "customer_no": "r-2", "last_name": "Ok"})
    assert failed(harness) == []
    harness.assert_books_balance()


def test_what_the_platform_refused_is_found_by_identifiers_that_the_field_mapping_renames(make, sandbox):
    harness = make("loops", fields=MAPPING)
    run(harness, {"external_id": "x", "customer_no": "r-2", "user_group": "old", "last_name": "[[loops-400]]"})
    assert len(failed(harness)) == 1

    run(harness, {"email": SHARED, "customer_no": "r-2", "user_group": "new"})

    assert [raw for _, raw in failed(harness)] == [
        {"external_id": "x", "customer_no": "r-2", "last_name": "[[loops-400]]"}
    ]


@pytest.mark.parametrize(
    ("key", "shared", "other"),
    [("email", {"email": SHARED}, "external_id"), ("external_id", {"external_id": "r-1"}, "email")],
)
def test_at_emarsys_the_key_alone_identifies_and_the_other_identifier_is_a_field(make, key, shared, other):
    values = {"external_id": ("r-8", "r-9"), "email": ("old@example.com", "new@example.com")}[other]
    harness = make("emarsys", key_field=key, external_id_field="4711")
    run(harness, {**shared, other: values[0], "city": "Oslo", "last_name": LONG})

    run(harness, {**shared, other: values[1]})
    assert failed(harness) == [("too_long", {**shared, "city": "Oslo", "last_name": LONG})]

    run(harness, {**shared, "city": "Rome", "last_name": "Ok"})
    assert failed(harness) == []
    assert harness.books() | {"accepted": 3, "delivered": 2, "merged": 1} == harness.books()


def test_at_emarsys_an_identifier_that_only_the_failed_record_has_is_not_lost(make):
    harness = make("emarsys", external_id_field="4711")
    run(harness, {"email": SHARED, "external_id": "r-2", "last_name": LONG})

    run(harness, {"email": SHARED, "last_name": "Ok"})

    assert failed(harness) == [("too_long", {"email": SHARED, "external_id": "r-2"})]


def test_at_emarsys_contacts_with_different_keys_share_nothing(make):
    harness = make("emarsys", key_field="external_id", external_id_field="4711")
    older = {"external_id": "r-2", "email": SHARED, "last_name": LONG, "opt_in": 2}

    run(harness, older, {"external_id": "r-1", "email": SHARED, "last_name": "Ok", "opt_in": 1})

    assert failed(harness) == [("too_long", older)]


def test_a_record_that_is_corrected_from_a_number_to_text_is_the_same_contact(make):
    harness = make("sendgrid")
    run(harness, {"external_id": 12, "email": SHARED, "city": "Oslo"})

    run(harness, {"external_id": "12", "email": SHARED, "city": "Oslo"})

    assert failed(harness) == []
    assert harness.books() | {"accepted": 2, "delivered": 1, "merged": 1} == harness.books()
