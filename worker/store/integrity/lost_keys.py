"""Keys of a destination that are gone although others need them: deleted by hand, or evicted. Finding and mending.

Workers go on meanwhile. Each search reads in an order in which a moving record or batch is not taken for a lost one,
and `mend` looks again, in one script, before it changes anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from contact_ingest.model.failure import Failure
from contact_ingest.model.lane import LaneName, RecordId
from contact_ingest.store.clock import Clock
from contact_ingest.store.integrity.install import lanes_by_destination
from contact_ingest.store.keys import DUE_BATCHES
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.scripts import Store

_PAGE = 500
_BODY = ("body", "offsets", "records")


@dataclass(frozen=True, slots=True)
class Lost:
    """What is lost. Of batches their numbers: `gone` are due and have no hash; `idle` have not ended and are not due;
    `bodies` are roots whose bytes or records are missing. Of lanes their names: `unlisted` are missing in `lanes`,
    `not_due` have records that wait and are not in `due:aggregate`. `contacts` are identity digests in flight, each
    with its root, which has ended. `failures` are ids without a place in the order of time, `ghosts` are ids without
    a failure."""

    gone: tuple[int, ...] = ()
    idle: tuple[int, ...] = ()
    bodies: tuple[int, ...] = ()
    unlisted: tuple[str, ...] = ()
    not_due: tuple[str, ...] = ()
    contacts: tuple[tuple[bytes, bytes], ...] = ()
    failures: tuple[str, ...] = ()
    ghosts: tuple[str, ...] = ()


def find_lost(store: Store, *, thorough: bool = False) -> Lost:
    """What is lost. `thorough` also reads every contact in flight and every failure."""
    gone, idle, bodies, lanes = _batches(store)
    unlisted = _unlisted(store, lanes)
    return Lost(
        gone,
        idle,
        bodies,
        unlisted,
        _not_due(store, {*lane_names(store), *unlisted}),
        _contacts(store) if thorough else (),
        *(_failures(store) if thorough else ()),
    )


def mend(store: Store, lost: Lost, options: Mapping[str, str]) -> int:
    """Mend what can be mended without a loss; returns how much that was. `options` are those of unlisted lanes, as
    JSON; a lane without an entry stays unlisted. Bodies are left to the workers, who say what becomes of their rows."""
    calls: list[tuple[str, ...] | tuple[str, bytes, bytes]] = [
        *(("batch", str(number)) for number in (*lost.gone, *lost.idle)),
        *(("contact", digest, root) for digest, root in lost.contacts),
        *(("lane", lane, options.get(lane, "")) for lane in {*lost.unlisted, *lost.not_due}),
        *(("failure", record, str(_failed_ms(store, record))) for record in lost.failures),
        *(("failure", record, "0") for record in lost.ghosts),
    ]
    return sum(int(store.run("repair", *call)) for call in calls)


def _batches(store: Store) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], set[str]]:
    """Numbers: without a hash, idle, of bodies; and the lanes of all batches. The list is read before the due times,
    and the hashes after them: a batch that is listed and not due has ended by then."""
    listed = {int(number) for number in store.client.zrange(store.keys("batches"), 0, -1)}
    due = _due(store) | _due(store)  # a batch that moves from one set to another is seen by one of the two
    found = {n: values for n, values in _hashes(store, listed | due) if n in due or values[2] not in (None, b"done")}
    gone = tuple(sorted(n for n, values in found.items() if n in due and None in values))
    still = _due(store) if gone else set()
    idle = tuple(sorted(n for n, values in found.items() if n not in due and None not in values))
    whole = [values for n, values in found.items() if None not in values]
    roots = {int(root) for _, root, state in whole if state != b"done"}
    lanes = {lane.decode(errors="replace") for lane, _, _ in whole}
    return tuple(n for n in gone if n in still), idle, _bodies(store, roots), lanes


def _due(store: Store) -> set[int]:
    return {int(number) for zset in DUE_BATCHES for number in store.client.zrange(store.keys(zset), 0, -1)}


def _hashes(store: Store, numbers: Iterable[int]) -> Iterable[tuple[int, Any]]:
    wanted = sorted(numbers)
    for start in range(0, len(wanted), _PAGE):
        pipe = store.client.pipeline(transaction=False)
        for number in wanted[start : start + _PAGE]:
            pipe.hmget(store.keys(f"batch:{number}"), "lane", "root", "state")
        yield from zip(wanted[start : start + _PAGE], pipe.execute(), strict=True)


def _bodies(store: Store, roots: set[int]) -> tuple[int, ...]:
    """Roots that have parts left, and lack one of the keys of their body. `parts` is read last."""
    missing, wanted = [], sorted(roots)
    for start in range(0, len(wanted), _PAGE):
        pipe = store.client.pipeline(transaction=False)
        for root in wanted[start : start + _PAGE]:
            for part in _BODY:
                pipe.exists(store.keys(f"batch:{root}:{part}"))
            pipe.hget(store.keys(f"batch:{root}"), "parts")
        answers = iter(pipe.execute())
        for root, (*there, parts) in zip(
            wanted[start : start + _PAGE], zip(*[answers] * (len(_BODY) + 1), strict=True), strict=True
        ):
            if not all(there) and int(parts or 1) > 0:
                missing.append(root)
    return tuple(missing)


def _unlisted(store: Store, lanes: set[str]) -> tuple[str, ...]:
    """Lanes that batches, due times or, where the server may be scanned, books name, and `lanes` does not."""
    k = store.keys
    named = lanes | {lane.decode(errors="replace") for lane in store.client.zrange(k("due:aggregate"), 0, -1)}
    named |= lanes_by_destination(store.client, k.prefix).get(k.destination, set())
    return tuple(sorted(lane for lane in named - set(lane_names(store)) if _is_of(lane, k.destination)))


def _is_of(lane: str, destination: str) -> bool:
    try:
        return LaneName(lane).destination == destination
    except ValueError:
        return False


def _not_due(store: Store, lanes: set[str]) -> tuple[str, ...]:
    """Lanes that two looks in a row found with waiting records and without a due time."""
    k = store.keys
    for _ in range(2):
        pipe = store.client.pipeline(transaction=False)
        for lane in sorted(lanes):
            pipe.zscore(k("due:aggregate"), lane)
            pipe.llen(k(f"waiting:{lane}"))
        answers = iter(pipe.execute())
        both = zip(sorted(lanes), answers, answers, strict=True)
        lanes = {lane for lane, due_ms, waiting in both if waiting and due_ms is None}
    return tuple(sorted(lanes))


def _contacts(store: Store) -> tuple[tuple[bytes, bytes], ...]:
    """Digests in flight whose root has ended. Empty where an ACL forbids HSCAN."""
    client, k = store.client, store.keys
    try:
        held = dict(client.hscan_iter(k("inflight"), count=1_000))
    except NoPermissionError:
        return ()
    now_ms = Clock(store).now_ms()
    dead = set()
    for root in set(held.values()):
        pipe = client.pipeline(transaction=False)
        pipe.hmget(k(f"batch:{int(root)}"), "parts", "orphan_until")
        pipe.zscore(k("quarantine"), root)
        (parts, orphan), quarantined = pipe.execute()
        if int(parts or 0) <= 0 and int(orphan or 0) <= now_ms and quarantined is None:
            dead.add(root)
    suspects = [digest for digest, root in held.items() if root in dead]
    found = []
    for start in range(0, len(suspects), _PAGE):
        page = suspects[start : start + _PAGE]
        roots = client.hmget(k("inflight"), page)
        found += [(digest, held[digest]) for digest, root in zip(page, roots, strict=True) if root == held[digest]]
    return tuple(found)


def _failures(store: Store) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of failures in no order, and ids in an order that have no failure; those that two looks in a row found."""
    lone, ghosts = _failures_once(store)
    if not lone and not ghosts:
        return (), ()
    again = _failures_once(store)
    return tuple(sorted(lone & again[0])), tuple(sorted(ghosts & again[1]))


def _failures_once(store: Store) -> tuple[set[str], set[str]]:
    client, k = store.client, store.keys
    ids = {record.decode() for record in client.hkeys(k("failures"))}
    placed = {record.decode() for record in client.zrange(k("failures:by_time"), 0, -1)}
    lanes = sorted({*lane_names(store), *(RecordId.parse(record).lane for record in ids)})
    for start in range(0, len(lanes), _PAGE):
        page = lanes[start : start + _PAGE]
        pipe = client.pipeline(transaction=False)
        for lane in page:
            pipe.zrange(k(f"retry:{lane}"), 0, -1)
        placed |= {f"{lane}:{int(seq)}" for lane, seqs in zip(page, pipe.execute(), strict=True) for seq in seqs}
    return ids - placed, placed - ids


def _failed_ms(store: Store, record: str) -> int:
    lines = store.client.hget(store.keys("failures"), record)
    return 0 if lines is None else Failure.from_bytes(record, lines).last_ms
