"""How a refused body is searched for the rows that spoil it. Pure: a state goes in, the next state comes out.

One bad row costs ceil(log2 n) + 3 requests: one half is probed, the other set aside, until a single row was refused
alone. A second bad row may be one of hundreds. Then the rest is dealt out in parts that are searched side by side, each
in groups of rows. A group that goes through doubles the next one; a bad row halves it. So 1,000 bad rows among 30,000
cost about 8 requests each.

Example, 8 rows of which row 5 is bad (`sending | suspects | parked`):

    [0,8) |       |        refused: probe the first half
    [0,4) | [4,8) |        accepted: the bad row is in the other half
    [4,6) | [6,8) |        refused
    [4,5) | [5,6) | [6,8)  accepted
    [5,6) |       | [6,8)  refused alone: row 5 is proved bad and fails
    [6,8) |       |        accepted: done
"""

from collections.abc import Sequence

from contact_ingest.model.batch import BisectState
from contact_ingest.model.row_ranges import Ranges, halves, size, take, union, without

#: Parts in which a body with many bad rows is searched side by side.
PARTS = 16


def after_refusal(bisect: BisectState) -> BisectState:
    """`sending` was refused and nobody was named. A single row is proved bad and leaves; of several, probe a half."""
    if size(bisect.sending) > 1:
        first, second = halves(bisect.sending)
        parked = union(bisect.suspects, bisect.parked)
        return BisectState(first, second, parked, bisect.group_size, bisect.good_in_a_row)
    left = union(bisect.suspects, bisect.parked)
    if not bisect.group_size:
        # The first bad row may be the only one, so all others go at once. If there is a second, bad rows are about as
        # far apart as the rows that went through so far.
        return BisectState(left, group_size=max(1, bisect.good_in_a_row))
    return _next_group(left, max(1, bisect.group_size // 2), 0)


def after_acceptance(bisect: BisectState) -> BisectState:
    """`sending` went through and leaves. If there are suspects, the bad row is among them."""
    good_in_a_row = bisect.good_in_a_row + size(bisect.sending)
    if not bisect.suspects:
        return _next_group(bisect.parked, bisect.group_size * 2, good_in_a_row)
    first, second = halves(bisect.suspects) if size(bisect.suspects) > 1 else (bisect.suspects, ())
    return BisectState(first, second, bisect.parked, bisect.group_size, good_in_a_row)


def after_naming(bisect: BisectState, bad: Sequence[int]) -> BisectState:
    """The reply named rows. The named rows leave; all others are sent again at once."""
    return BisectState(without(bisect.all, bad))


def alone(bisect: BisectState, row: int) -> BisectState:
    """A hint points at a row. The row goes alone; all others are parked."""
    return BisectState(((row, row + 1),), (), without(bisect.all, [row]))


def has_more_bad_rows(bisect: BisectState) -> bool:
    """Whether the refusal of `sending` means a second bad row, where the first was perhaps the only one."""
    return 0 < bisect.group_size < size(bisect.sending) and bisect.is_plain


def deal_out(bisect: BisectState) -> list[BisectState]:
    """What was refused a second time, in parts that are searched side by side, each by groups from now on."""
    parts: list[Ranges] = [bisect.sending]
    while 2 * len(parts) <= PARTS:
        parts = [half for part in parts for half in halves(part)]
    return [_next_group(part, bisect.group_size, 0) for part in parts if part]


def slices(body: bytes, offsets: Sequence[int], ranges: Ranges, first: int = 0) -> list[bytes]:
    """The bytes of some rows of a body, commas between them, without prefix and suffix.

    `body` begins at byte `first` of the whole body; `offsets` are those of the whole body."""
    parts: list[bytes] = []
    for start, stop in ranges:
        if parts:
            parts.append(b",")
        parts.append(body[offsets[start] - first : offsets[stop] - 1 - first])
    return parts


def _next_group(left: Ranges, group_size: int, good_in_a_row: int) -> BisectState:
    sending, parked = take(left, group_size) if group_size else (left, ())
    return BisectState(sending, (), parked, group_size, good_in_a_row)
