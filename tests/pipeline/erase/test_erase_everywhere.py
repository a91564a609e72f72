"""A contact is found and erased wherever it is, and nobody who only looks alike is."""

import orjson
import pytest
from support.erasing import ADA, LONG, NAME, NEVER, ada, counts, erase, everything, has_failed, traces_left
from support.peer import advance
from support.people import person

from contact_ingest import enqueue
from contact_ingest.errors import SettingError
from contact_ingest.model.field_mapping import FieldMapping
from contact_ingest.operations.erase import DataSubject, RecordMatcher

LIST = "00000000-0000-4000-8000-000000000001"


def waits(harness, sandbox):
    harness.runtime.state.pause("sendgrid", "for a test")
    enqueue([person(1), ada(), person(2)])


def waits_on_another_lane(harness, sandbox):
    enqueue(person(3))
    enqueue([person(1), ada()], list_ids=[LIST])


def waits_among_alternate_addresses(harness, sandbox):
    enqueue([person(1), {"external_id": "7", "alternate_emails": ["x@example.com", ADA], "city": "Planted"}])


def is_held(harness, sandbox):
    """Ada was in flight, so what came behind her was held; then her job ended."""
    sandbox.dials(**NEVER[0])
    enqueue([ada(), person(1)])
    harness.run_until(lambda: harness.books()["batched"] == 2)
    enqueue([ada(city="Planted"), person(1, city="here")])
    harness.run_until(lambda: harness.books()["held"] == 2)
    harness.runtime.state.pause("sendgrid", "for a test")
    deadline = round(harness.engine.settings.poll_deadline_s) + 1
    advance(harness.runtime, deadline)
    harness.run_until(lambda: harness.books()["batched"] == 0)
    harness.runtime.failures.discard([failure.id for failure in harness.runtime.failures])
    advance(harness.runtime, harness.engine.settings.orphan_wait_s + 1)
    harness.run_until(lambda: not harness.runtime.store.client.exists(harness.runtime.store.keys("inflight")))


def is_to_be_tried_again(harness, sandbox):
    has_failed(harness, sandbox)
    harness.runtime.state.pause(None, "for a test")
    harness.runtime.failures.retry(list(harness.runtime.failures))


PLACES = {
    waits: {"waiting": 1},
    waits_on_another_lane: {"waiting": 1},
    waits_among_alternate_addresses: {"waiting": 1},
    is_held: {"held": 1},
    has_failed: {"failed": 1},
    is_to_be_tried_again: {"held": 1},
}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_contact_is_erased_wherever_it_is_and_the_others_stay(cli, harness, client, sandbox, place):
    place(harness, sandbox)
    before = harness.books()
    assert traces_left(client)

    counted = cli("erase", ADA, "--dry-run", "--json")
    assert counted.code == 0
    assert counts(counted) == PLACES[place]
    assert harness.books() == before

    said = erase(cli)

    assert said.code == 0, said
    assert counts(said) == PLACES[place]
    assert said.json["complete"] is True
    assert not traces_left(client)
    (where,) = PLACES[place]
    assert harness.books() == before | {where: before[where] - 1, "discarded": before["discarded"] + 1}
    harness.assert_books_balance()
    again = erase(cli)
    assert (again.code, again.json["erased"]) == (0, 0)


def test_a_contact_is_erased_from_every_destination(cli, make_harness, client):
    harness = make_harness(destinations={"letters": {}, "news": {}}, max_wait_s=3600)
    enqueue([ada(), person(1)], to=["letters", "news"])

    said = cli("erase", ADA, "--yes")

    assert said.code == 0
    assert said.out.startswith("2 records erased: 2 waiting, 0 held, 0 failed.\nBeyond reach: the platform itself;")
    assert not traces_left(client)
    assert harness.books("letters")["waiting"] == harness.books("news")["waiting"] == 1


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("--external-id", "external_id", "Planted-4711"),
        ("--phone-number-id", "phone_number_id", "+4915112345678"),
        ("--anonymous-id", "anonymous_id", "planted-1"),
    ],
)
def test_a_contact_is_also_found_by_its_other_identifiers(cli, make_harness, client, option, field, value):
    harness = make_harness(max_wait_s=3600)
    enqueue([{field: value, "first_name": NAME}, {field: f"{value}0"}, person(1, first_name=value)])
    enqueue([person(2, **{field: value}, last_name=LONG), person(3, last_name=LONG)], to="sendgrid")
    harness.runtime.schedule.flush("sendgrid")
    harness.runtime.state.pause(None, "for a test")

    said = erase(cli, option, value)

    assert counts(said) == {"waiting": 2}
    assert harness.books()["waiting"] == 3
    assert NAME.encode() not in everything(client)


def test_an_identifier_that_a_destination_renames_is_found_under_either_name(cli, make_harness, client):
    rules = {"rename": {"email": "custom_fields.old", "custom_fields.mail": "email"}}
    harness = make_harness(destinations={"sendgrid": {"fields": rules}}, max_wait_s=3600)
    enqueue([{"external_id": "7", "custom_fields": {"mail": ADA}}, {"email": ADA, "external_id": "8"}, person(3)])

    assert counts(erase(cli)) == {"waiting": 2}
    assert not traces_left(client)
    assert harness.books()["waiting"] == 1


def test_a_failure_is_also_found_by_what_it_was_filed_under_when_the_destination_renamed_otherwise(
    cli, make_harness, client
):
    harness = make_harness(destinations={"sendgrid": {"fields": {"rename": {"custom_fields.mail": "email"}}}})
    enqueue([{"external_id": "7", "custom_fields": {"mail": ADA}, "last_name": LONG}, person(1, last_name=LONG)])
    harness.run_until_settled()
    make_harness()

    assert counts(erase(cli)) == {"failed": 1}
    assert not traces_left(client)


@pytest.mark.parametrize(
    "other",
    [
        {"email": f"x{ADA}"},
        {"email": f"{ADA}.uk"},
        {"email": "b@example.com", "custom_fields": {"brought_by": ADA}},
        {"external_id": ADA},
    ],
    ids=["longer", "another domain", "only mentioned", "another identifier"],
)
def test_somebody_who_only_looks_alike_stays(cli, make_harness, other):
    harness = make_harness(max_wait_s=3600)
    enqueue([other])

    assert counts(erase(cli)) == {}
    assert harness.books()["waiting"] == 1


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("ADA@example.com ", " ada@Example.COM"),
        ("ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
        ("ada@b\u00fccher.example", "Ada@xn--bcher-kva.example"),
        ("jos\u00e9@example.com", "JOSE\u0301@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ('"a\\d"@example.com', '"A\\d"@example.com'),
        ("\u03bf\u03b4\u03bf\u03c2@example.com", "\u039f\u0394\u039f\u03a3@example.com"),
    ],
)
def test_an_address_is_known_in_whatever_way_it_was_written(asked, written):
    matcher = RecordMatcher(DataSubject(asked), FieldMapping())

    assert matcher.is_about(orjson.dumps({"email": written}))
    assert not matcher.is_about(orjson.dumps({"email": f"z{written.strip()}"}))


def test_an_identifier_given_as_a_number_is_found_and_nothing_is_ever_shown():
    subject = DataSubject(external_id="4711")

    assert RecordMatcher(subject, FieldMapping()).is_about(b'{"external_id":4711}')
    assert "4711" not in repr(subject)
    with pytest.raises(SettingError, match="name the contact"):
        DataSubject(" ")
