"""Arguments of the wrong kind: an error that names what is expected, and nothing is enqueued."""

import asyncio
import io
import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from pydantic import BaseModel
from support.people import person

from contact_ingest import Receipt, SettingError, aclose, aenqueue, cancel, enqueue
from contact_ingest.model.arguments import LONGEST_KEY, LONGEST_WAIT_S, check_wait_s

UUID = "00000000-0000-4000-8000-000000000001"


class Model(BaseModel):
    email: str = "a@example.com"


@dataclass
class Person:
    email: str = "a@example.com"


class Row(NamedTuple):
    email: str
    city: str


class Frame:
    """A table as data libraries have it: going through it gives the names of its columns."""

    def __iter__(self):
        return iter(("email", "city"))

    def to_dict(self, how):
        return [{"email": "a@example.com"}]


def database_row():
    with sqlite3.connect(":memory:") as database:
        database.row_factory = sqlite3.Row
        return database.execute("select 'a@example.com' as email").fetchone()


async def arriving():
    yield person(1)


NO_RECORDS = {
    "text": ("a@example.com", "str"),
    "bytes": (b'{"email": "a@example.com"}', "bytes"),
    "bytearray": (bytearray(b"x"), "bytearray"),
    "nothing": (None, "NoneType"),
    "number": (17, "int"),
    "model": (Model(), "model_dump"),
    "dataclass": (Person(), "asdict"),
    "named tuple": (Row("a@example.com", "Oslo"), "_asdict"),
    "database row": (database_row(), r"dict\(record\)"),
    "table": (Frame(), "rows as mappings"),
    "open file": (io.StringIO("email\na@example.com\n"), "StringIO"),
    "class": (Model, "ModelMetaclass"),
    "function": (arriving, "function"),
}


@pytest.fixture
def door(make_harness):
    return make_harness(max_wait_s=60)


def is_untouched(door):
    return door.books()["accepted"] == 0 and door.runtime.store.client.keys("*idempotency*") == []


@pytest.mark.parametrize("kind", NO_RECORDS)
def test_what_is_no_record_and_no_iterable_of_records_is_not_taken_apart(door, kind):
    records, named = NO_RECORDS[kind]
    heard = []

    with pytest.raises(TypeError, match=rf"^records must be one record .* {named}|^records must.*{named}") as wrong:
        enqueue(records, on_refused=heard.append)
    with pytest.raises(TypeError, match=r"^records must be one record"):
        asyncio.run(aenqueue(records))

    assert "a@example.com" not in str(wrong.value)
    assert heard == []
    assert is_untouched(door)


def test_an_asynchronous_iterable_is_for_aenqueue(door):
    with pytest.raises(TypeError, match="aenqueue"):
        enqueue(arriving())


def test_a_model_inside_a_list_is_one_refused_record(door):
    receipt = enqueue([person(1), Model(), Row("a@example.com", "Oslo"), "text"])

    assert (receipt.accepted, [each.code for each in receipt.refused]) == (1, ["not_an_object"] * 3)


@pytest.mark.parametrize(
    "key", ["", "x" * (LONGEST_KEY + 1), 17, b"key", True, ["k"], "\ud800", "a\udfff"], ids=lambda key: repr(key)[:12]
)
def test_a_key_is_text_that_redis_can_keep(door, key):
    for call in (lambda: enqueue(person(1), key=key), lambda: asyncio.run(aenqueue(person(1), key=key))):
        with pytest.raises(SettingError, match=r"^key: must be"):
            call()
    assert is_untouched(door)


@pytest.mark.parametrize("key", ["k", "x" * LONGEST_KEY, "Zoë", "鍵", "a b:c"])
def test_any_other_text_is_a_key(door, key):
    assert enqueue(person(1), key=key).accepted == enqueue(person(1), key=key).accepted == 1
    assert door.books()["accepted"] == 1


@pytest.mark.parametrize("wait_s", ["z", "5", -1, -0.001, float("nan"), float("inf"), 1e300, None, True, 10**400, 3j])
def test_a_wait_is_a_number_of_seconds_in_range(door, wait_s):
    for call in (lambda: enqueue(person(1), wait_s=wait_s), lambda: asyncio.run(aenqueue(person(1), wait_s=wait_s))):
        with pytest.raises(SettingError, match=r"^wait_s: must be a number of seconds from 0 to 2,592,000"):
            call()
    assert is_untouched(door)


@pytest.mark.parametrize("wait_s", [0, 0.5, LONGEST_WAIT_S])
def test_a_wait_in_range_is_taken(wait_s):
    assert check_wait_s(wait_s) == wait_s


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ([], "is empty"),
        ((), "is empty"),
        ({}, "is empty"),
        (5, "not int"),
        ({"sendgrid"}, "not set"),
        (b"sendgrid", "not bytes"),
        ([None], "item 1 .* not NoneType"),
        (["sendgrid", 3], "item 2 .* not int"),
        ({"sendgrid": None}, "item 1 .* not NoneType"),
        ({"sendgrid": [UUID]}, "item 1 .* not list"),
        ({"sendgrid": {3: 4}}, "item 1 .* not dict"),
    ],
)
def test_a_destination_is_named_by_text_a_list_or_a_mapping(door, to, says):
    for call in (lambda: enqueue(person(1), to=to), lambda: asyncio.run(aenqueue(person(1), to=to))):
        with pytest.raises(SettingError, match=f"^to: .*{says}"):
            call()
    assert is_untouched(door)


@pytest.mark.parametrize("configured", [[], [UUID]])
@pytest.mark.parametrize("lists", [UUID, 17, b"x", {UUID: 1}])
def test_lists_are_a_list(make_harness, configured, lists):
    door = make_harness(max_wait_s=60, destinations={"sendgrid": {"list_ids": configured}})

    with pytest.raises(SettingError, match=r"^list_ids: must be a list of list ids, not"):
        enqueue(person(1), list_ids=lists)
    with pytest.raises(SettingError, match=r"^list_ids: must be a list of list ids, not"):
        enqueue(person(1), to={"sendgrid": {"list_ids": lists}})
    assert is_untouched(door)


@pytest.mark.parametrize("option", ["to", "self", "name", "list_id"])
def test_an_option_that_no_lane_has_is_refused_by_name(door, option):
    with pytest.raises(SettingError, match=f"^{option}: is not an option"):
        enqueue(person(1), to={"sendgrid": {option: 1}})
    assert is_untouched(door)


@pytest.mark.parametrize("heard", [17, "print", []])
def test_a_callback_can_be_called(door, heard):
    with pytest.raises(SettingError, match=r"^on_refused: must be a function"):
        enqueue(person(1), on_refused=heard)


@pytest.mark.parametrize("receipt", [None, "sendgrid:0", {"lane": "sendgrid"}, [(0, 1)], 17])
def test_only_a_receipt_is_cancelled(door, receipt):
    enqueue(person(1))

    with pytest.raises(TypeError, match=r"^receipt must be the Receipt of an enqueue, not"):
        cancel(receipt)
    assert door.books()["waiting"] == 1


def test_the_receipts_of_several_destinations_are_cancelled_one_by_one(door):
    receipts = enqueue(person(1), to=["sendgrid"])

    with pytest.raises(TypeError, match="the receipt of each destination"):
        cancel(receipts)
    assert cancel(receipts["sendgrid"]) == 1
    assert cancel(Receipt("sendgrid")) == 0


def test_a_wrong_argument_is_told_before_the_loop_is_asked_for_a_connection(door):
    async def main():
        with pytest.raises(SettingError):
            await aenqueue(person(1), to=[])
        await aclose()

    asyncio.run(main())
