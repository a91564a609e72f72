"""Epochs: which state of the server gave out the numbers of a lane.

A server that was emptied (FLUSHALL), restored from an older state, or replaced by a replica that lagged, gives out
numbers a second time. So every run of numbers belongs to an epoch: an id that a lane gets with its first record, and
again with the first record after the server's `run_id` has changed. A receipt carries the epochs of its records.

    epochs:<lane>     1f2e3d4c5b6a7980 -> 120: the numbers from 120 on were given out in that epoch
    Receipt.epoch     1f2e3d4c5b6a7980, or several with a space between where the server restarted in the middle
"""

from collections.abc import Sequence
from itertools import pairwise

from contact_ingest.errors import ForeignReceipt
from contact_ingest.store.scripts import Store

#: Above every number of a record.
_END = 2**53


def check_receipt(store: Store, lane: str, ranges: Sequence[tuple[int, int]], epoch: str) -> None:
    """Raise `ForeignReceipt` unless the numbers of these closed ranges were given out in the epochs of the receipt.

    A receipt of a release without epochs has an empty `epoch`. It stands for numbers that such a release gave out:
    those before the first epoch of the lane."""
    found = store.client.zrange(store.keys(f"epochs:{lane}"), 0, -1, withscores=True)
    begins = [("", 0), *((name.decode(), int(first)) for name, first in found), ("", _END)]
    spans = [(name, first, after - 1) for (name, first), (_, after) in pairwise(begins) if first < after]
    known = set(epoch.split()) or {""}
    for first, last in ranges:
        held = {name for name, begin, end in spans if begin <= last and first <= end}
        if not held <= known:
            raise ForeignReceipt(lane, old=not epoch)
