"""The walk over a lane against its promises: order per contact, merging, holding, and what a mark leaves behind."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contact_ingest.errors import Refused
from contact_ingest.model.identity import contradict, digests, identities
from contact_ingest.model.merge import merge_fields
from contact_ingest.model.record import QueuedRecord
from contact_ingest.packing.packer import EncodedRecord, Packer
from contact_ingest.packing.payload import Limits, read_offsets

KINDS = ("email", "external_id")
PREFIX, SUFFIX = b'{"contacts":[', b"]}"
SALT = b"s" * 16

IDENTITY = st.fixed_dictionaries(
    {},
    optional={
        "email": st.sampled_from(["a@x.cd", "b@x.cd", "c@x.cd"]),
        "external_id": st.sampled_from(["p", "q", "r"]),
    },
).filter(bool)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "city": st.sampled_from(["", "here"]),
        "custom_fields": st.dictionaries(st.sampled_from("kl"), st.just(0)),
    },
)
#: None is a cancelled record; the text "bad" breaks a rule.
RECORDS = st.none() | st.builds(lambda who, what: {**what, **who}, IDENTITY, FIELDS)
BAD = IDENTITY.map(lambda who: {**who, "line": "bad"})
BUSY = st.sets(st.sampled_from(["email:a@x.cd", "email:b@x.cd", "email:c@x.cd", "external_id:p", "external_id:q"]))


def item_of(entry):
    record = orjson.loads(entry.raw)
    names = identities(record, KINDS)
    refused = Refused("line", "is bad") if record.get("line") == "bad" else None
    return EncodedRecord(entry, None if refused else entry.raw, names, digests(SALT, names), refused)


def entries_of(records):
    return [
        None if record is None else QueuedRecord(seq, orjson.dumps({**record, "first_name": str(seq)}))
        for seq, record in enumerate(records)
    ]


def digest_set(names):
    return set(digests(SALT, sorted(names)))


class Lane:
    """A lane beside the walk: what has left it, and in which round."""

    def __init__(self, entries, limits, max_held):
        self.records = {entry.seq: orjson.loads(entry.raw) for entry in entries if entry is not None}
        self.names = {seq: set(identities(record, KINDS)) for seq, record in self.records.items()}
        self.left, self.held = list(entries), []
        self.limits, self.max_held = limits, max_held
        self.gone, self.refused = set(), set()

    def round(self, busy, *, close):
        """One walk over all that is left, committed up to its last mark."""
        packer = Packer(self.limits, item_of, max_held=self.max_held, max_refused=1_000)
        fed = [*self.held, *self.left]
        closed = []
        for entry in fed:
            body = packer.add(None if entry is None else item_of(entry), digest_set(busy))
            closed += [body] if body else []
            if packer.is_full:
                break
        if close or packer.open_rows == 0:
            body = packer.flush()
            closed += [body] if body else []
        mark = packer.mark
        self.check(closed, busy, {item.entry.seq for item in packer.refused})
        rows = sum(body.packed.rows for body in closed)
        assert mark.consumed == mark.cancelled + rows + mark.merged + mark.refused + len(mark.held)
        assert len(mark.held) <= self.max_held
        self.refused |= {item.entry.seq for item in packer.refused[: mark.refused]}
        self.left = fed[max(mark.consumed, len(self.held)) :]
        self.held = [*(item.entry for item in mark.held), *self.held[mark.consumed :]]
        return bool(closed)

    def check(self, closed, busy, refused):
        """What has to hold of the bodies of one walk, and of everything that left before."""
        taken = [digest for body in closed for item in body.items for digest in item.digests]
        assert len(taken) == len(set(taken)), "a contact is in two bodies, or twice in one"
        assert digest_set(busy).isdisjoint(taken), "a contact that is in flight was sent"
        before = self.gone | self.refused | refused
        for body in closed:
            at = read_offsets(body.packed.offsets)
            assert len(body.packed.body) <= self.limits.max_bytes
            assert body.packed.rows == len(body.items) <= self.limits.max_contacts
            for row, item in enumerate(body.items):
                seqs = sorted({item.entry.seq, *item.entry.merged})
                self.check_row(orjson.loads(body.packed.body[at[row] : at[row + 1] - 1]), seqs, before)
                assert self.gone.isdisjoint(seqs), "a record was sent twice"
                self.gone |= set(seqs)

    def check_row(self, sent, seqs, before):
        whole = {}
        for seq in seqs:
            whole = merge_fields(whole, self.records[seq])
        assert sent == whole, "a merged contact is not the newer value of each field"
        for one, other in pairwise(seqs):
            assert not contradict(sorted(self.names[one]), sorted(self.names[other]))
        names = set.union(*(self.names[seq] for seq in seqs))
        assert len({name.split(":")[0] for name in names}) == len(names), "two contacts became one"
        for seq in seqs:
            earlier = {other for other in range(seq) if other in self.names and self.names[other] & self.names[seq]}
            assert earlier <= before | set(seqs), "a newer record of a contact overtook an older one"


@settings(max_examples=400, deadline=None)
@given(
    st.lists(RECORDS | BAD, max_size=25),
    st.lists(st.tuples(BUSY, st.booleans()), max_size=4),
    st.integers(1, 6),
    st.integers(2, 8),
    st.integers(110, 400),
)
def test_any_walk_keeps_the_order_of_each_contact_and_loses_nothing(records, rounds, max_contacts, max_held, max_bytes):
    lane = Lane(entries_of(records), Limits(max_contacts, max_bytes, PREFIX, SUFFIX), max_held)
    for busy, close in rounds:
        lane.round(busy, close=close)
    for _ in range(2 * len(records) + 1):
        if lane.left or lane.held:
            lane.round(set(), close=True)

    assert not lane.left
    assert not lane.held
    assert lane.gone | lane.refused == set(lane.records)
    assert lane.gone.isdisjoint(lane.refused)
    assert all(lane.records[seq].get("line") != "bad" for seq in lane.gone)


def walk_over(*records, busy=(), max_contacts=10, max_bytes=1_000, max_held=100, max_refused=100):
    packer = Packer(
        Limits(max_contacts, max_bytes, PREFIX, SUFFIX), item_of, max_held=max_held, max_refused=max_refused
    )
    closed = [packer.add(item_of(entry), digest_set(busy)) for entry in entries_of(records)]
    return packer, [body for body in closed if body]


def a(**more):
    return {"email": "a@x.cd", **more}


def b(**more):
    return {"email": "b@x.cd", **more}


def seqs(items):
    return [[*item.entry.merged, item.entry.seq] for item in items]


def test_two_records_of_one_contact_become_one_row_under_the_newer_id():
    packer, _ = walk_over(a(city="old", line="kept"), b(), a(city=""))

    body = packer.flush()

    assert seqs(body.items) == [[0, 2], [1]]
    assert orjson.loads(body.packed.body)["contacts"][0] == a(city="", line="kept", first_name="2")


def test_records_that_share_one_identifier_and_contradict_in_another_are_two_contacts_in_two_walks():
    packer, _ = walk_over(a(external_id="p"), a(external_id="q"))

    body = packer.flush()

    assert seqs(body.items) == [[0]]
    assert seqs(packer.mark.held) == [[1]]


def test_a_record_that_joins_two_rows_waits_for_both():
    packer, _ = walk_over(a(), {"external_id": "p"}, a(external_id="p"))

    assert seqs(packer.flush().items) == [[0], [1]]
    assert seqs(packer.mark.held) == [[2]]


def test_a_contact_of_a_body_already_closed_in_this_walk_waits():
    packer, closed = walk_over(a(), b(), a(city="new"), max_contacts=1)

    assert [seqs(body.items) for body in closed] == [[[0]]]
    assert seqs(packer.flush().items) == [[1]]
    assert seqs(packer.mark.held) == [[2]]


def test_the_mark_lies_before_the_record_that_did_not_fit_any_more():
    packer, closed = walk_over(a(), b(), max_contacts=1)

    assert len(closed) == 1
    assert (packer.mark.consumed, packer.now.consumed) == (1, 2)


def test_the_mark_knows_nothing_of_what_came_after_it():
    packer, _ = walk_over(a(), b(), {"email": "c@x.cd", "line": "bad"}, a(), b(), busy={"email:b@x.cd"}, max_contacts=1)
    before = (packer.mark.consumed, list(packer.mark.held), packer.mark.refused)

    assert before == (0, [], 0)
    assert packer.flush() is not None
    assert (packer.mark.consumed, packer.mark.merged, packer.mark.refused) == (5, 2, 1)
    assert seqs(packer.mark.held) == [[1, 4]]


def test_a_thousand_records_of_a_busy_contact_are_held_as_one():
    packer, _ = walk_over(*[a(city=str(number)) for number in range(1000)], busy={"email:a@x.cd"})
    packer.flush()

    assert len(packer.mark.held) == 1
    assert packer.mark.merged == 999
    assert orjson.loads(packer.mark.held[0].entry.raw)["city"] == "999"
    assert not packer.is_full


def test_the_walk_is_full_when_as_many_are_held_or_refused_as_may_be():
    assert walk_over(a(), b(), busy={"email:a@x.cd", "email:b@x.cd"}, max_held=2)[0].is_full
    assert not walk_over(a(), busy={"email:a@x.cd"}, max_held=2)[0].is_full
    assert walk_over(a(line="bad"), b(line="bad"), max_refused=2)[0].is_full


def test_a_merged_contact_that_no_longer_fits_the_body_waits_instead_of_making_it_oversize():
    size = len(PREFIX + SUFFIX) + len(entries_of([a(city="x" * 50)])[0].raw)
    packer, _ = walk_over(a(city="x" * 50), a(line="y" * 40), max_bytes=size + 5)

    body = packer.flush()

    assert len(body.packed.body) <= size + 5
    assert seqs(body.items) == [[0]]
    assert seqs(packer.mark.held) == [[1]]


def test_a_contact_larger_than_a_whole_body_is_refused_with_its_size_and_the_rest_go_on():
    packer, _ = walk_over(a(city="x" * 500), b(), max_bytes=400)

    body = packer.flush()

    assert seqs(body.items) == [[1]]
    [item] = packer.refused
    assert item.refused.code == "too_large"
    assert str(len(item.entry.raw)) in item.refused.rule


def test_held_records_are_not_merged_into_one_that_no_body_could_hold():
    packer, _ = walk_over(a(city="x" * 200), a(line="y" * 200), busy={"email:a@x.cd"}, max_bytes=400)
    packer.flush()

    assert seqs(packer.mark.held) == [[0], [1]]


def retried(seq, record, packed_version=1):
    return item_of(QueuedRecord(seq, orjson.dumps(record), (), 1, 1_790_000_000_000, packed_version))


def test_retried_records_of_one_contact_are_one_row_and_leave_their_place_together():
    packer, _ = walk_over()

    for seq, record in ((5, a(city="old", line="kept")), (9, a(city="new")), (11, b())):
        assert packer.add(retried(seq, record, packed_version=seq), set()) is None
    body = packer.flush()

    assert seqs(body.items) == [[5, 9], [11]]
    assert orjson.loads(body.packed.body)["contacts"][0] == a(city="new", line="kept")
    assert (packer.taken, packer.mark.taken, packer.mark.consumed, packer.mark.merged) == ([5, 9, 11], 3, 0, 1)


def test_a_retried_record_spoils_nothing_new_of_its_contact():
    packer, _ = walk_over()

    packer.add(retried(5, a(city="old")), set())
    packer.add(item_of(QueuedRecord(9, orjson.dumps(a(line="new")))), set())
    body = packer.flush()

    assert seqs(body.items) == [[5]]
    assert seqs(packer.mark.held) == [[9]]


def test_a_retried_record_whose_contact_is_in_flight_stays_where_it_is():
    packer, _ = walk_over(max_held=1)

    packer.add(retried(5, a()), digest_set({"email:a@x.cd"}))
    packer.add(retried(6, a(external_id="p")), set())
    packer.add(retried(7, a(external_id="q")), set())
    body = packer.flush()

    assert seqs(body.items) == [[6]]
    assert (packer.taken, packer.mark.held, packer.is_full) == ([6], [], False)


def test_a_retried_record_that_is_refused_again_leaves_its_place():
    packer, _ = walk_over()

    packer.add(retried(5, a(line="bad")), digest_set({"email:a@x.cd"}))
    packer.flush()

    assert [item.entry.seq for item in packer.refused] == packer.taken == [5]
    assert (packer.mark.taken, packer.mark.refused) == (1, 1)


def test_the_mark_lies_before_a_retried_record_that_did_not_fit_any_more():
    packer, _ = walk_over(max_contacts=1)

    assert packer.add(retried(5, a()), set()) is None
    closed = packer.add(retried(6, b()), set())

    assert seqs(closed.items) == [[5]]
    assert packer.taken[: packer.mark.taken] == [5]


def test_no_merge_reaches_over_a_held_record_that_has_to_do_with_it():
    """The last of three shares an identifier with the first; between them waits one that contradicts the first."""
    records = [a(external_id="p", city="1"), a(external_id="q", city="2"), {"external_id": "p", "line": "3"}]

    packer, _ = walk_over(*records, busy={"email:a@x.cd"})
    packer.flush()
    assert seqs(packer.mark.held) == [[0], [1], [2]]

    packer, _ = walk_over(*records)
    assert seqs(packer.flush().items) == [[0]]
    assert seqs(packer.mark.held) == [[1], [2]]


def test_what_is_held_is_bounded_in_bytes_too():
    """Held records are read and written as a whole."""
    packer = Packer(Limits(10, 10_000, PREFIX, SUFFIX), item_of, max_held=100, max_refused=10, max_held_bytes=1_000)
    fed = 0
    for seq in range(100):
        if packer.is_full:
            break
        packer.add(
            item_of(QueuedRecord(seq, orjson.dumps({"email": f"{seq}@x.cd", "line": "x" * 180}))), set(digest_all(seq))
        )
        fed += 1

    assert packer.holds_most
    assert 1_000 <= sum(len(item.entry.raw) for item in packer.now.held) < 1_300
    assert fed == len(packer.now.held) == 5


def test_records_that_are_held_as_one_count_with_the_bytes_of_that_one():
    packer = Packer(Limits(10, 10_000, PREFIX, SUFFIX), item_of, max_held=100, max_refused=10, max_held_bytes=1_000)

    for seq in range(50):
        packer.add(item_of(QueuedRecord(seq, orjson.dumps(a(line="x" * 180)))), digest_set(["email:a@x.cd"]))

    assert len(packer.now.held) == 1
    assert not packer.is_full


def digest_all(seq):
    return digests(SALT, [f"email:{seq}@x.cd"])


@pytest.mark.parametrize("merged", [(), (4,)])
def test_a_retried_record_waits_for_an_older_one_that_is_held(merged):
    """It was refused while that one waited for a contact in flight."""
    packer, _ = walk_over()
    held = item_of(QueuedRecord(9 if merged else 4, orjson.dumps(a(city="held")), merged))
    packer.note_held([held])

    for item in (retried(3, b()), retried(5, a(city="retried")), held):
        packer.add(item, set())

    assert seqs(packer.flush().items) == [[3], [*merged, held.entry.seq]]
    assert packer.taken == [3]


def test_a_retried_record_does_not_wait_for_newer_ones_that_are_held():
    packer, _ = walk_over()
    held = item_of(QueuedRecord(9, orjson.dumps(a(city="held"))))
    packer.note_held([held])

    for item in (retried(5, a(city="retried")), held):
        packer.add(item, set())

    assert seqs(packer.flush().items) == [[5]]
    assert seqs(packer.mark.held) == [[9]]
