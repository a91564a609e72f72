"""Parts of a body as row ranges, and how a refused body is searched for the record that spoils it.

A part is a list of half-open row ranges of the root's body: no bytes are copied until a request is built. `Search` is
the whole state of a bisect: what goes out next (`send`), the other half of what is known to hold a bad record
(`rest`), and what is not suspected at the moment (`aside`).

One bad record costs ceil(log2 n) + 3 requests. Where a second one shows, there may be hundreds: what is left is dealt
out in parts that are searched side by side, each in groups of rows as long as the runs of good ones are. A group that
goes through doubles the next, a bad record halves it. So 1,000 among 30,000 cost about 8 requests each, and bodies as
short as a group.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Ranges = tuple[tuple[int, int], ...]

#: Parts in which a body with many bad records is searched side by side.
PARTS = 16


def size(ranges: Ranges) -> int:
    return sum(stop - start for start, stop in ranges)


def rows(ranges: Ranges) -> Iterable[int]:
    for start, stop in ranges:
        yield from range(start, stop)


def union(*parts: Ranges) -> Ranges:
    """All rows of disjoint parts, in order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(span for part in parts for span in part):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        elif start < stop:
            joined.append((start, stop))
    return tuple(joined)


def without(ranges: Ranges, gone: Iterable[int]) -> Ranges:
    left = list(ranges)
    for row in gone:
        for at, (start, stop) in enumerate(left):
            if start <= row < stop:
                left[at : at + 1] = [span for span in ((start, row), (row + 1, stop)) if span[0] < span[1]]
                break
    return tuple(left)


def taken(ranges: Ranges, want: int) -> tuple[Ranges, Ranges]:
    """The first so many rows, and the rest."""
    first: list[tuple[int, int]] = []
    second: list[tuple[int, int]] = []
    for start, stop in ranges:
        cut = min(stop, start + want)
        if start < cut:
            first.append((start, cut))
        if cut < stop:
            second.append((cut, stop))
        want -= cut - start
    return tuple(first), tuple(second)


def halves(ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The first half of the rows, the larger one if they are odd, and the rest."""
    return taken(ranges, (size(ranges) + 1) // 2)


@dataclass(frozen=True, slots=True)
class BisectState:
    """What a batch still has to send, and what is known of it. Without `rest` and `aside` it is a plain batch.

    `passed` rows have gone through since the last bad one; `group` is how many go at once, 0 before any was found."""

    send: Ranges
    rest: Ranges = ()
    aside: Ranges = ()
    group: int = 0
    passed: int = 0

    @property
    def all(self) -> Ranges:
        return union(self.send, self.rest, self.aside)

    @property
    def is_plain(self) -> bool:
        return not self.rest and not self.aside


def bisect_fields(search: BisectState) -> dict[str, Any]:
    """A search as fields of a batch."""
    return {
        "sending": orjson.dumps(search.send).decode(),
        "suspects": orjson.dumps(search.rest).decode(),
        "parked": orjson.dumps(search.aside).decode(),
        "group_size": search.group,
        "good_in_a_row": search.passed,
        "rows": size(search.all),
    }


def read_bisect_state(fields: Mapping[str, str]) -> BisectState:
    send, rest, aside = (
        tuple((int(start), int(stop)) for start, stop in orjson.loads(fields[name]))
        for name in ("sending", "suspects", "parked")
    )
    return BisectState(send, rest, aside, int(fields.get("group_size", 0)), int(fields.get("good_in_a_row", 0)))


def after_refusal(search: BisectState) -> BisectState:
    """`send` was refused and nobody was named. A single row is proved bad and leaves; of several, probe a half."""
    if size(search.send) > 1:
        first, second = halves(search.send)
        return BisectState(first, second, union(search.rest, search.aside), search.group, search.passed)
    left = union(search.rest, search.aside)
    if not search.group:
        # Perhaps it was the only one: everything goes at once. If not, bad ones come as thick as up to here.
        return BisectState(left, group=max(1, search.passed))
    return _next_group(left, max(1, search.group // 2), 0)


def after_acceptance(search: BisectState) -> BisectState:
    """`send` went through and leaves; if there was a rest, the bad record is in it."""
    passed = search.passed + size(search.send)
    if not search.rest:
        return _next_group(search.aside, search.group * 2, passed)
    first, second = halves(search.rest) if size(search.rest) > 1 else (search.rest, ())
    return BisectState(first, second, search.aside, search.group, passed)


def has_more(search: BisectState) -> bool:
    """Whether the refusal of `send` tells of a second bad record, where the first was perhaps the only one."""
    return 0 < search.group < size(search.send) and search.is_plain


def dealt(search: BisectState) -> list[BisectState]:
    """What was refused a second time, in parts that are searched side by side, each by groups from now on."""
    parts: list[Ranges] = [search.send]
    while 2 * len(parts) <= PARTS:
        parts = [half for part in parts for half in halves(part)]
    return [_next_group(part, search.group, 0) for part in parts if part]


def _next_group(left: Ranges, group: int, passed: int) -> BisectState:
    send, aside = taken(left, group) if group else (left, ())
    return BisectState(send, (), aside, group, passed)


def after_naming(search: BisectState, bad: Sequence[int]) -> BisectState:
    """The reply named rows of `send`: they leave, and all others are sent again at once."""
    return BisectState(without(search.all, bad))


def alone(search: BisectState, row: int) -> BisectState:
    """A hint points at a row: it goes alone, all others wait aside."""
    return BisectState(((row, row + 1),), (), without(search.all, [row]))


def slices(body: bytes, offsets: Sequence[int], ranges: Ranges, first: int = 0) -> list[bytes]:
    """The bytes of some rows of a body, commas between them, without prefix and suffix. `body` begins at `first`."""
    parts: list[bytes] = []
    for start, stop in ranges:
        if parts:
            parts.append(b",")
        parts.append(body[offsets[start] - first : offsets[stop] - 1 - first])
    return parts
