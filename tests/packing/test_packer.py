"""The packer: order of each contact, merging, holding, and what lies behind a checkpoint."""

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


def encode(entry):
    record = orjson.loads(entry.raw)
    names = identities(record, KINDS)
    refused = Refused("line", "is bad", "invalid") if record.get("line") == "bad" else None
    return EncodedRecord(entry, None if refused else entry.raw, names, digests(SALT, names), refused)


def queued_records(records):
    return [
        None if record is None else QueuedRecord(seq, orjson.dumps({**record, "first_name": str(seq)}))
        for seq, record in enumerate(records)
    ]


def digest_set(names):
    return set(digests(SALT, sorted(names)))


class Lane:
    """A lane for the packer to read: what is left in it, what is held, and what has gone."""

    def __init__(self, entries, limits, max_held):
        self.records = {entry.seq: orjson.loads(entry.raw) for entry in entries if entry is not None}
        self.names = {seq: set(identities(record, KINDS)) for seq, record in self.records.items()}
        self.left, self.held = list(entries), []
        self.limits, self.max_held = limits, max_held
        self.gone, self.refused = set(), set()

    def round(self, busy, *, close):
        """One packer over all that is left, committed up to its checkpoint."""
        packer = Packer(self.limits, encode, max_held=self.max_held, max_refused=1_000)
        fed = [*self.held, *self.left]
        closed = []
        for entry in fed:
            body = packer.add(None if entry is None else encode(entry), digest_set(busy))
            closed += [body] if body else []
            if packer.is_at_limit:
                break
        if close or packer.open_rows == 0:
            body = packer.flush()
            closed += [body] if body else []
        checkpoint = packer.checkpoint
        self.check(closed, busy, {record.queued.seq for record in packer.refused})
        rows = sum(body.packed.rows for body in closed)
        assert checkpoint.consumed == checkpoint.cancelled + rows + checkpoint.merged + checkpoint.refused + len(
            checkpoint.held
        )
        assert len(checkpoint.held) <= self.max_held
        self.refused |= {record.queued.seq for record in packer.refused[: checkpoint.refused]}
        self.left = fed[max(checkpoint.consumed, len(self.held)) :]
        self.held = [*(record.queued for record in checkpoint.held), *self.held[checkpoint.consumed :]]
        return bool(closed)

    def check(self, closed, busy, refused):
        """Check the bodies of one round against everything that left before."""
        taken = [digest for body in closed for record in body.records for digest in record.digests]
        assert len(taken) == len(set(taken)), "a contact is in two bodies, or twice in one"
        assert digest_set(busy).isdisjoint(taken), "a contact that is in flight was sent"
        before = self.gone | self.refused | refused
        for body in closed:
            at = read_offsets(body.packed.offsets)
            assert len(body.packed.body) <= self.limits.max_bytes
            assert body.packed.rows == len(body.records) <= self.limits.max_contacts
            for row, record in enumerate(body.records):
                seqs = sorted({record.queued.seq, *record.queued.merged})
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
def test_the_packer_keeps_the_order_of_each_contact_and_loses_nothing(
    records, rounds, max_contacts, max_held, max_bytes
):
    lane = Lane(queued_records(records), Limits(max_contacts, max_bytes, PREFIX, SUFFIX), max_held)
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


def packer_after(*records, busy=(), max_contacts=10, max_bytes=1_000, max_held=100, max_refused=100):
    packer = Packer(Limits(max_contacts, max_bytes, PREFIX, SUFFIX), encode, max_held=max_held, max_refused=max_refused)
    closed = [packer.add(encode(entry), digest_set(busy)) for entry in queued_records(records)]
    return packer, [body for body in closed if body]


def a(**more):
    return {"email": "a@x.cd", **more}


def b(**more):
    return {"email": "b@x.cd", **more}


def seqs(records):
    return [[*record.queued.merged, record.queued.seq] for record in records]


def test_two_records_of_one_contact_become_one_row_under_the_newer_id():
    packer, _ = packer_after(a(city="old", line="kept"), b(), a(city=""))

    body = packer.flush()

    assert seqs(body.records) == [[0, 2], [1]]
    assert orjson.loads(body.packed.body)["contacts"][0] == a(city="", line="kept", first_name="2")


def test_records_that_share_one_identifier_and_contradict_in_another_are_two_contacts_in_two_rounds():
    packer, _ = packer_after(a(external_id="p"), a(external_id="q"))

    body = packer.flush()

    assert seqs(body.records) == [[0]]
    assert seqs(packer.checkpoint.held) == [[1]]


def test_a_record_that_joins_two_rows_waits_for_both():
    packer, _ = packer_after(a(), {"external_id": "p"}, a(external_id="p"))

    assert seqs(packer.flush().records) == [[0], [1]]
    assert seqs(packer.checkpoint.held) == [[2]]


def test_a_contact_of_a_body_already_finished_in_this_round_is_held():
    packer, closed = packer_after(a(), b(), a(city="new"), max_contacts=1)

    assert [seqs(body.records) for body in closed] == [[[0]]]
    assert seqs(packer.flush().records) == [[1]]
    assert seqs(packer.checkpoint.held) == [[2]]


def test_the_checkpoint_lies_before_the_record_that_did_not_fit_any_more():
    packer, closed = packer_after(a(), b(), max_contacts=1)

    assert len(closed) == 1
    assert (packer.checkpoint.consumed, packer.progress.consumed) == (1, 2)


def test_the_checkpoint_holds_nothing_that_came_after_it():
    packer, _ = packer_after(
        a(), b(), {"email": "c@x.cd", "line": "bad"}, a(), b(), busy={"email:b@x.cd"}, max_contacts=1
    )
    before = (packer.checkpoint.consumed, list(packer.checkpoint.held), packer.checkpoint.refused)

    assert before == (0, [], 0)
    assert packer.flush() is not None
    assert (packer.checkpoint.consumed, packer.checkpoint.merged, packer.checkpoint.refused) == (5, 2, 1)
    assert seqs(packer.checkpoint.held) == [[1, 4]]


def test_a_thousand_records_of_a_busy_contact_are_held_as_one():
    packer, _ = packer_after(*[a(city=str(number)) for number in range(1000)], busy={"email:a@x.cd"})
    packer.flush()

    assert len(packer.checkpoint.held) == 1
    assert packer.checkpoint.merged == 999
    assert orjson.loads(packer.checkpoint.held[0].queued.raw)["city"] == "999"
    assert not packer.is_at_limit


def test_the_packer_is_at_its_limit_when_as_many_are_held_or_refused_as_may_be():
    assert packer_after(a(), b(), busy={"email:a@x.cd", "email:b@x.cd"}, max_held=2)[0].is_at_limit
    assert not packer_after(a(), busy={"email:a@x.cd"}, max_held=2)[0].is_at_limit
    assert packer_after(a(line="bad"), b(line="bad"), max_refused=2)[0].is_at_limit


def test_a_merged_contact_that_no_longer_fits_the_body_waits_instead_of_making_it_oversize():
    size = len(PREFIX + SUFFIX) + len(queued_records([a(city="x" * 50)])[0].raw)
    packer, _ = packer_after(a(city="x" * 50), a(line="y" * 40), max_bytes=size + 5)

    body = packer.flush()

    assert len(body.packed.body) <= size + 5
    assert seqs(body.records) == [[0]]
    assert seqs(packer.checkpoint.held) == [[1]]


def test_a_contact_larger_than_a_whole_body_is_refused_with_its_size_and_the_rest_go_on():
    packer, _ = packer_after(a(city="x" * 500), b(), max_bytes=400)

    body = packer.flush()

    assert seqs(body.records) == [[1]]
    [record] = packer.refused
    assert record.refused.code == "too_large"
    assert str(len(record.queued.raw)) in record.refused.rule


def test_held_records_are_not_merged_into_one_that_no_body_could_hold():
    packer, _ = packer_after(a(city="x" * 200), a(line="y" * 200), busy={"email:a@x.cd"}, max_bytes=400)
    packer.flush()

    assert seqs(packer.checkpoint.held) == [[0], [1]]


def retried(seq, record, packed_version=1):
    return encode(QueuedRecord(seq, orjson.dumps(record), (), 1, 1_790_000_000_000, packed_version))


def test_retried_records_of_one_contact_are_one_row_and_leave_their_place_together():
    packer, _ = packer_after()

    for seq, record in ((5, a(city="old", line="kept")), (9, a(city="new")), (11, b())):
        assert packer.add(retried(seq, record, packed_version=seq), set()) is None
    body = packer.flush()

    assert seqs(body.records) == [[5, 9], [11]]
    assert orjson.loads(body.packed.body)["contacts"][0] == a(city="new", line="kept")
    assert (
        packer.packed_retries,
        packer.checkpoint.packed_retries,
        packer.checkpoint.consumed,
        packer.checkpoint.merged,
    ) == ([5, 9, 11], 3, 0, 1)


def test_a_retried_record_does_not_merge_with_a_new_record_of_its_contact():
    packer, _ = packer_after()

    packer.add(retried(5, a(city="old")), set())
    packer.add(encode(QueuedRecord(9, orjson.dumps(a(line="new")))), set())
    body = packer.flush()

    assert seqs(body.records) == [[5]]
    assert seqs(packer.checkpoint.held) == [[9]]


def test_a_retried_record_whose_contact_is_in_flight_stays_where_it_is():
    packer, _ = packer_after(max_held=1)

    packer.add(retried(5, a()), digest_set({"email:a@x.cd"}))
    packer.add(retried(6, a(external_id="p")), set())
    packer.add(retried(7, a(external_id="q")), set())
    body = packer.flush()

    assert seqs(body.records) == [[6]]
    assert (packer.packed_retries, packer.checkpoint.held, packer.is_at_limit) == ([6], [], False)


def test_a_retried_record_that_is_refused_again_leaves_its_place():
    packer, _ = packer_after()

    packer.add(retried(5, a(line="bad")), digest_set({"email:a@x.cd"}))
    packer.flush()

    assert [record.queued.seq for record in packer.refused] == packer.packed_retries == [5]
    assert (packer.checkpoint.packed_retries, packer.checkpoint.refused) == (1, 1)


def test_the_checkpoint_lies_before_a_retried_record_that_did_not_fit_any_more():
    packer, _ = packer_after(max_contacts=1)

    assert packer.add(retried(5, a()), set()) is None
    closed = packer.add(retried(6, b()), set())

    assert seqs(closed.records) == [[5]]
    assert packer.packed_retries[: packer.checkpoint.packed_retries] == [5]


def test_no_merge_reaches_over_a_held_record_that_shares_an_identity():
    """The third record shares an identifier with the first. The second is held and contradicts the first."""
    records = [a(external_id="p", city="1"), a(external_id="q", city="2"), {"external_id": "p", "line": "3"}]

    packer, _ = packer_after(*records, busy={"email:a@x.cd"})
    packer.flush()
    assert seqs(packer.checkpoint.held) == [[0], [1], [2]]

    packer, _ = packer_after(*records)
    assert seqs(packer.flush().records) == [[0]]
    assert seqs(packer.checkpoint.held) == [[1], [2]]


def test_what_is_held_is_bounded_in_bytes_too():
    """The held records of a lane are read and written all together."""
    packer = Packer(Limits(10, 10_000, PREFIX, SUFFIX), encode, max_held=100, max_refused=10, max_held_bytes=1_000)
    fed = 0
    for seq in range(100):
        if packer.is_at_limit:
            break
        packer.add(
            encode(QueuedRecord(seq, orjson.dumps({"email": f"{seq}@x.cd", "line": "x" * 180}))), set(digest_all(seq))
        )
        fed += 1

    assert packer.held_limit_is_reached
    assert 1_000 <= sum(len(record.queued.raw) for record in packer.progress.held) < 1_300
    assert fed == len(packer.progress.held) == 5


def test_records_that_are_held_as_one_count_with_the_bytes_of_that_one():
    packer = Packer(Limits(10, 10_000, PREFIX, SUFFIX), encode, max_held=100, max_refused=10, max_held_bytes=1_000)

    for seq in range(50):
        packer.add(encode(QueuedRecord(seq, orjson.dumps(a(line="x" * 180)))), digest_set(["email:a@x.cd"]))

    assert len(packer.progress.held) == 1
    assert not packer.is_at_limit


def digest_all(seq):
    return digests(SALT, [f"email:{seq}@x.cd"])


@pytest.mark.parametrize("merged", [(), (4,)])
def test_a_retried_record_waits_for_an_older_one_that_is_held(merged):
    """The retried record was refused while the held one waited for a contact in flight."""
    packer, _ = packer_after()
    held = encode(QueuedRecord(9 if merged else 4, orjson.dumps(a(city="held")), merged))
    packer.note_held([held])

    for record in (retried(3, b()), retried(5, a(city="retried")), held):
        packer.add(record, set())

    assert seqs(packer.flush().records) == [[3], [*merged, held.queued.seq]]
    assert packer.packed_retries == [3]


def test_a_retried_record_does_not_wait_for_newer_ones_that_are_held():
    packer, _ = packer_after()
    held = encode(QueuedRecord(9, orjson.dumps(a(city="held"))))
    packer.note_held([held])

    for record in (retried(5, a(city="retried")), held):
        packer.add(record, set())

    assert seqs(packer.flush().records) == [[5]]
    assert seqs(packer.checkpoint.held) == [[9]]
