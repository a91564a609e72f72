"""How a refused body is searched for the rows that spoil it. Pure: a state goes in, the next state comes out.

One bad row costs ceil(log2 n) + 3 requests: one half is probed, the other set aside, until a single row is left. That
row is accused. Once all others went through it goes alone, and fails if it is refused. A second bad row may be one of
hundreds. Then the rest is dealt out in parts that are searched side by side, each in groups of rows. A group that goes
through doubles the next one; a bad row halves it. So 1,000 bad rows among 30,000 cost about 8 requests each.

Example, 8 rows of which row 5 is bad (`sending | suspects | parked`):

    [0,8) |       |        refused: probe the first half
    [0,4) | [4,8) |        accepted: the bad row is in the other half
    [4,6) | [6,8) |        refused
    [4,5) | [5,6) | [6,8)  accepted: row 5 is accused
    [6,8) |       |        accepted: rows are the matter, not the lane
    [5,6) |       |        refused alone: row 5 is proved bad and fails
"""

from collections.abc import Sequence
from dataclasses import replace

from contact_ingest.model.batch import BisectState
from contact_ingest.model.row_ranges import Ranges, halves, nth_row, size, take, union, without

#: Parts in which a body with many bad rows is searched side by side.
PARTS = 16


def after_refusal(bisect: BisectState) -> BisectState:
    """`sending` was refused and nobody was named. A single row is proved bad and leaves; of several, probe a half."""
    if size(bisect.sending) > 1:
        first, second = halves(bisect.sending)
        parked = union(bisect.suspects, bisect.parked)
        return replace(bisect, sending=first, suspects=second, parked=parked)
    return _without_sending(bisect)


def after_accusing(bisect: BisectState, chance: float) -> BisectState:
    """A single row was refused, and is set aside as accused. The first time all others go at once. Later one of the
    others goes alone, chosen by `chance` (0 to 1): bad rows often stand side by side."""
    accused = union(bisect.accused, bisect.sending)
    if not bisect.accused:
        return replace(_without_sending(bisect), accused=accused)
    return control(replace(bisect, sending=(), accused=accused), chance)


def control(bisect: BisectState, chance: float) -> BisectState:
    """One of the rows that are not accused goes alone. What becomes of it tells whether rows are the matter at all."""
    others = union(bisect.sending, bisect.suspects, bisect.parked)
    row = nth_row(others, min(size(others) - 1, int(chance * size(others))))
    alone_ = ((row, row + 1),)
    return replace(bisect, sending=alone_, suspects=(), parked=without(others, [row]))


def after_acceptance(bisect: BisectState) -> BisectState:
    """`sending` went through and leaves. If there are suspects, the bad row is among them. Accused rows go again when
    nothing else is left: then it is known that rows are the matter."""
    accepted = bisect.accepted or bool(bisect.accused)
    went = replace(bisect, good_in_a_row=bisect.good_in_a_row + size(bisect.sending), accepted=accepted)
    if size(bisect.suspects) > 1:
        first, second = halves(bisect.suspects)
        return replace(went, sending=first, suspects=second)
    if bisect.suspects and accepted:
        return replace(went, sending=bisect.suspects, suspects=())
    if bisect.suspects:  # the last one that may be bad: whether rows are the matter at all, the others tell
        group_size = bisect.group_size or max(1, went.good_in_a_row)
        went = replace(
            went, accused=bisect.suspects, suspects=(), sending=bisect.parked, parked=(), group_size=group_size
        )
        return went if went.sending else _again(went)
    if bisect.accused and not bisect.accepted:
        went = replace(went, sending=bisect.parked, parked=())
    else:
        went = _next_group(went, bisect.parked, bisect.group_size * 2)
    return went if went.sending else _again(went)


def after_naming(bisect: BisectState, bad: Sequence[int]) -> BisectState:
    """The reply named rows. The named rows leave; all others are sent again at once."""
    return BisectState(without(bisect.all, bad), accepted=bisect.accepted)


def alone(bisect: BisectState, row: int) -> BisectState:
    """A hint points at a row. The row goes alone; all others are parked."""
    return BisectState(((row, row + 1),), (), without(bisect.all, [row]), accepted=bisect.accepted)


def is_in_doubt(bisect: BisectState) -> bool:
    """Whether several rows were refused after a row was accused, and nothing was accepted: rows may not be the matter
    at all, so that a search would blame them one by one."""
    return bool(bisect.accused) and not bisect.accepted and size(bisect.sending) > 1


def has_more_bad_rows(bisect: BisectState) -> bool:
    """Whether the refusal of `sending` means a second bad row, where the first was perhaps the only one."""
    return 0 < bisect.group_size < size(bisect.sending) and not bisect.suspects and not bisect.parked


def deal_out(bisect: BisectState) -> list[BisectState]:
    """What was refused a second time, in parts that are searched side by side, each by groups from now on."""
    parts: list[Ranges] = [bisect.sending]
    while 2 * len(parts) <= PARTS:
        parts = [half for part in parts for half in halves(part)]
    blank = BisectState((), accepted=bisect.accepted)
    dealt = [_next_group(blank, part, bisect.group_size) for part in parts if part]
    return [*dealt, _again(replace(blank, accused=bisect.accused))] if bisect.accused else dealt


def slices(body: bytes, offsets: Sequence[int], ranges: Ranges, first: int = 0) -> list[bytes]:
    """The bytes of some rows of a body, commas between them, without prefix and suffix.

    `body` begins at byte `first` of the whole body; `offsets` are those of the whole body."""
    parts: list[bytes] = []
    for start, stop in ranges:
        if parts:
            parts.append(b",")
        parts.append(body[offsets[start] - first : offsets[stop] - 1 - first])
    return parts


def _without_sending(bisect: BisectState) -> BisectState:
    """A single row leaves, and the others go on."""
    left = union(bisect.suspects, bisect.parked)
    if bisect.group_size:
        gone = _next_group(replace(bisect, good_in_a_row=0), left, max(1, bisect.group_size // 2))
    else:
        # The first bad row may be the only one, so all others go at once. If there is a second, bad rows are about as
        # far apart as the rows that went through so far.
        group_size = max(1, bisect.good_in_a_row)
        gone = replace(bisect, sending=left, suspects=(), parked=(), group_size=group_size, good_in_a_row=0)
    return gone if gone.sending or not gone.accused else _again(gone)


def _next_group(bisect: BisectState, left: Ranges, group_size: int) -> BisectState:
    sending, parked = take(left, group_size) if group_size else (left, ())
    return replace(bisect, sending=sending, suspects=(), parked=parked, group_size=group_size)


def _again(bisect: BisectState) -> BisectState:
    """The accused rows go again, each alone."""
    return _next_group(replace(bisect, accused=()), bisect.accused, 1)
