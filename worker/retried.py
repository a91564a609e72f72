"""Retried records on their way to the walk: in the order of their numbers, from where the round before left off.

They stay in the store until a body has them. Those whose contacts are in flight are known by their digests alone and
passed over, so many a round at most: however many there are, what is new does not wait for them, and a round over them
costs the same. The next round goes on behind them, and after the last one begins again.
"""

from collections.abc import Iterator

from worker.items import Item
from worker.preparing import Preparation
from worker.store.bench import Bench
from worker.store.failures import Failure
from worker.store.looks import LaneLook

#: Records looked at together, how many of them are read at a time, as they may be long, and how many a round may find
#: in flight.
CHUNK = 1_000
PIECE = 50
MAX_STAYING = 2_000


class Retried:
    """The retried records of one lane, as one look saw it."""

    def __init__(self, bench: Bench, look: LaneLook, lane: str, preparation: Preparation) -> None:
        self._bench = bench
        self._look = look
        self._lane = lane
        self._preparation = preparation
        self.at = look.again_at
        self.has_more = bool(look.again)

    def chunks(self) -> Iterator[list[Item]]:
        """Those that may go, as far as their digests can tell. Whoever asks for the next chunk is done with the one
        before: `at` is where to go on, and `has_more` whether there is more behind that."""
        staying = 0
        while self._look.again:
            found = self._bench.retried(self._lane, self.at, CHUNK)
            busy = self._bench.busy([key for _, keys in found for key in keys]) if self._look.busy else set()
            free = [seq for seq, keys in found if busy.isdisjoint(keys)]
            staying += len(found) - len(free)
            for start in range(0, len(free), PIECE):
                yield self._items(free[start : start + PIECE])
            if len(found) < CHUNK:
                self.at, self.has_more = 0, False
                return
            self.at = found[-1][0] + 1
            if staying >= MAX_STAYING:
                return

    def _items(self, seqs: list[int]) -> list[Item]:
        ids = [f"{self._lane}:{seq}" for seq in seqs]
        blobs = zip(ids, self._bench.blobs(ids), strict=True)
        return [self._preparation.item(Failure.read(id_, blob).entry) for id_, blob in blobs if blob is not None]
