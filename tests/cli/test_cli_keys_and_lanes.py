"""`contact-ingest enqueue`: its keys, and the options of the lane."""

import asyncio
import shlex

import orjson
import pytest
from support.people import person

from contact_ingest import aclose, aenqueue, enqueue
from contact_ingest.store.lanes import lane_names, lane_options

LIST_A, LIST_B = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


def write_csv(path, count):
    path.write_text("\n".join(["email,first_name", *(f"p{i}@example.com,Name {i}" for i in range(count))]) + "\n")
    return path


def test_the_same_file_under_the_same_key_is_counted_once(cli, harness, tmp_path):
    path = write_csv(tmp_path / "people.csv", 1200)

    cli("enqueue", path, "--key", "monday")
    again = cli("enqueue", path, "--key", "monday", "--json")

    assert again.code == 0
    assert orjson.loads(again.out)["repeated_calls"] == 3
    assert harness.books()["accepted"] == 1200


def test_another_file_under_the_same_key_is_refused_and_can_be_sent_under_the_key_that_is_printed(
    cli, harness, tmp_path
):
    cli("enqueue", write_csv(tmp_path / "a.csv", 3), "--key", "monday")
    other = write_csv(tmp_path / "b.csv", 4)

    refused = cli("enqueue", other, "--key", "monday")

    assert refused.code == 4
    assert "--key: was used for other records within a day" in refused.err
    assert "monday" not in refused.err
    assert harness.books()["accepted"] == 3
    words = shlex.split(refused.err.splitlines()[-1])
    assert cli(*words[1:]).code == 0
    assert harness.books()["accepted"] == 7


def test_a_file_that_has_changed_midway_is_counted_up_to_there_and_refused_from_there(cli, harness, tmp_path):
    path = write_csv(tmp_path / "people.csv", 1200)
    cli("enqueue", path, "--key", "monday")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:700], lines[700].replace("@", "-changed@"), *lines[701:]]) + "\n")

    refused = cli("enqueue", path, "--key", "monday", "--json")

    assert (refused.code, refused.json["accepted"], refused.json["repeated_calls"]) == (4, 500, 1)
    assert refused.json["stopped_before"] == "502"
    assert harness.books()["accepted"] == 1200


def test_equal_records_of_one_file_are_all_counted_under_one_key(cli, harness, tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_bytes(b'{"email":"same@example.com"}\n' * 1500)

    cli("enqueue", path, "--key", "monday")

    assert harness.books()["accepted"] == 1500


def test_a_call_whose_reply_was_lost_is_not_counted_again_by_the_run_that_goes_on(cli, harness, tmp_path):
    path = write_csv(tmp_path / "people.csv", 1200)
    cli("enqueue", path, "--key", "monday")

    # As if the first run had stopped without hearing of its second call, which began on line 502.
    went_on = cli("enqueue", path, "--key", "monday", "--from-line", "502", "--json")

    assert orjson.loads(went_on.out)["ranges"] == [[500, 1199]]
    assert harness.books()["accepted"] == 1200


@pytest.fixture
def shop(make_harness):
    """An Emarsys destination whose settings name a contact list."""
    account = {"platform": "emarsys", "client_id": "id", "client_secret": "secret", "lane": {"contact_list_id": 4711}}
    return make_harness(max_wait_s=60, destinations={"shop": account})


def options_in_use(harness):
    store = harness.runtime.store
    return [lane_options(store, lane) for lane in lane_names(store)]


def test_every_door_uses_the_lane_of_the_settings(cli, shop, tmp_path):
    async def main():
        await aenqueue(person(8))
        await aclose()

    assert cli("enqueue", write_csv(tmp_path / "a.csv", 2)).code == 0
    enqueue(person(9))
    enqueue(person(10), to=["shop"])
    asyncio.run(main())

    assert options_in_use(shop) == [{"contact_list_id": 4711}]
    assert shop.books()["accepted"] == 5


def test_the_command_gives_every_lane_option_of_a_platform(cli, shop, tmp_path):
    path = write_csv(tmp_path / "a.csv", 2)

    assert cli("enqueue", path, "--lane-option", "contact_list_id=17").code == 0
    dry = cli("enqueue", path, "--lane-option", "contact_list_id=18", "--dry-run", "--json")

    assert options_in_use(shop) == [{"contact_list_id": 17}]
    assert dry.json["lane"] == shop.engine.producer.lane(None, contact_list_id=18).name


@pytest.mark.parametrize(
    "words",
    [
        ("--list", LIST_A, "--list", LIST_B),
        ("--lane-option", f"list_ids={LIST_A}", "--lane-option", f"list_ids={LIST_B}"),
        ("--lane-option", f'list_ids=["{LIST_A}","{LIST_B}"]'),
        ("--list", LIST_B, "--lane-option", f"list_ids={LIST_A}"),
    ],
)
def test_lists_can_be_given_one_by_one_or_as_json(cli, make_harness, tmp_path, words):
    harness = make_harness(max_wait_s=60)

    assert cli("enqueue", write_csv(tmp_path / "a.csv", 2), *words).code == 0
    assert options_in_use(harness) == [{"list_ids": [LIST_A, LIST_B]}]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["contact_list_id"], "--lane-option: write it as NAME=VALUE"),
        (["=17"], "--lane-option: write it as NAME=VALUE"),
        (["contact_list_id="], "--lane-option: write it as NAME=VALUE"),
        (["contact_list_id=1", "contact_list_id=2"], "--lane-option: contact_list_id is given twice"),
        (["contact_list_id=[1"], "--lane-option: what begins with"),
        (["contact_list_id=zero"], "contact_list_id: must be the number of one contact list"),
        (["contact_list_id=0"], "contact_list_id: must be the number of one contact list"),
        (["list=17"], "list: is not an option of an Emarsys lane"),
        ([f"list_ids={LIST_A}"], "list_ids: is not an option of an Emarsys lane"),
        (["self=1"], "self: is not an option of a lane"),
    ],
)
def test_a_wrong_lane_option_is_refused_by_name(cli, shop, tmp_path, given, says):
    words = [word for text in given for word in ("--lane-option", text)]

    said = cli("enqueue", write_csv(tmp_path / "a.csv", 2), *words)

    assert said.code == 2
    assert said.err.startswith(f"error: {says}")
    assert options_in_use(shop) == []


def test_a_stopped_run_prints_its_lane_options_again(cli, shop, tmp_path):
    path = write_csv(tmp_path / "a.csv", 3)
    cli("enqueue", path, "--key", "monday", "--lane-option", "contact_list_id=17")
    other = write_csv(tmp_path / "a.csv", 4)

    stopped = cli("enqueue", other, "--key", "monday", "--lane-option", "contact_list_id=17")

    assert "--lane-option contact_list_id=17" in stopped.err.splitlines()[-1]


@pytest.mark.parametrize("option", [("--key", ""), ("--key", "x" * 201), ("--wait", "inf"), ("--wait", "nan")])
def test_a_key_or_a_wait_that_cannot_be_kept_is_refused_by_name(cli, harness, tmp_path, option):
    said = cli("enqueue", write_csv(tmp_path / "a.csv", 3), *option)

    assert (said.code, option[0] in said.err) == (2, True)
    assert harness.books()["accepted"] == 0
