"""Names of lanes and ids of records: their form, and what can be read from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contact_ingest.model.lane import Lane, LaneName, RecordId, lane_name

SECRET = "ann@example.com"


@pytest.mark.parametrize(("text", "destination"), [("news", "news"), ("a-b_9+1f2e3d4c", "a-b_9")])
def test_a_lane_name_is_a_text_that_knows_its_destination(text, destination):
    name = LaneName(text)

    assert (name, name.destination) == (text, destination)
    assert f"{name}" == text
    assert Lane.of(text, {}) == Lane(name, destination)


@pytest.mark.parametrize(
    "text", ["", "News", "news+", "news+1f2e3d4", "news+1F2E3D4C", "news+1f2e3d4c5", "news\n", "a" * 64, SECRET]
)
def test_a_text_of_another_form_is_no_lane_name_and_the_error_does_not_repeat_it(text):
    with pytest.raises(ValueError, match="not the name of a lane") as caught:
        LaneName(text)

    assert SECRET not in str(caught.value)


@given(st.sampled_from(["news", "news+1f2e3d4c"]), st.integers(0, 2**53))
def test_a_record_id_reads_back_as_it_was_written(lane, seq):
    record_id = RecordId(LaneName(lane), seq)

    assert RecordId.parse(str(record_id)) == record_id
    assert f"{record_id}" == f"{lane}:{seq}"


@pytest.mark.parametrize(
    "text", ["", "news", "news:", "news:-1", "news:1.0", "news: 1", "news:1_0", "news:٣", ":1", SECRET]
)
def test_a_text_of_another_form_is_no_record_id_and_the_error_does_not_repeat_it(text):
    with pytest.raises(ValueError, match=r"^not the (id of a record|name of a lane)$"):
        RecordId.parse(text)


def test_record_ids_are_ordered_by_lane_and_then_by_number():
    ids = ["news:10", "app:11", "news:9"]

    assert sorted(ids, key=RecordId.parse) == ["app:11", "news:9", "news:10"]


def test_equal_options_give_the_same_lane_whatever_their_order():
    one, same = lane_name("news", {"a": 1, "b": 2}), lane_name("news", {"b": 2, "a": 1})

    assert one == same != lane_name("news", {"a": 1, "b": 3})
    assert one.destination == "news" == lane_name("news", {})
