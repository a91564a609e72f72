"""Rows of a body as half-open ranges: `((0, 3), (5, 9))` is rows 0, 1, 2, 5, 6, 7, 8.

A part of a body is a list of such ranges. The bytes are copied only when a request is built. Pure.
"""

from collections.abc import Iterable, Iterator

#: Ranges in order, disjoint, none of them empty.
Ranges = tuple[tuple[int, int], ...]


def size(ranges: Ranges) -> int:
    """The number of rows."""
    return sum(stop - start for start, stop in ranges)


def rows(ranges: Ranges) -> Iterator[int]:
    """The row numbers, in order."""
    for start, stop in ranges:
        yield from range(start, stop)


def nth_row(ranges: Ranges, place: int) -> int:
    """The row number at a place, 0 for the first row. Example: place 3 of `((0, 3), (5, 9))` is row 5."""
    for start, stop in ranges:
        if place < stop - start:
            return start + place
        place -= stop - start
    raise IndexError(place)


def union(*parts: Ranges) -> Ranges:
    """All rows of disjoint parts, in order. Ranges that touch become one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(span for part in parts for span in part):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        elif start < stop:
            joined.append((start, stop))
    return tuple(joined)


def without(ranges: Ranges, gone: Iterable[int]) -> Ranges:
    """The ranges less some rows. A row that is not in the ranges changes nothing."""
    left = list(ranges)
    for row in gone:
        for at, (start, stop) in enumerate(left):
            if start <= row < stop:
                left[at : at + 1] = [span for span in ((start, row), (row + 1, stop)) if span[0] < span[1]]
                break
    return tuple(left)


def single_rows(numbers: Iterable[int]) -> Ranges:
    """The ranges that hold just these rows."""
    return union(tuple((row, row + 1) for row in sorted(numbers)))


def take(ranges: Ranges, count: int) -> tuple[Ranges, Ranges]:
    """The first `count` rows, and the others."""
    first: list[tuple[int, int]] = []
    second: list[tuple[int, int]] = []
    for start, stop in ranges:
        cut = min(stop, start + count)
        if start < cut:
            first.append((start, cut))
        if cut < stop:
            second.append((cut, stop))
        count -= cut - start
    return tuple(first), tuple(second)


def halves(ranges: Ranges) -> tuple[Ranges, Ranges]:
    """The first half of the rows and the second. The first half has one row more where the number is odd."""
    return take(ranges, (size(ranges) + 1) // 2)
