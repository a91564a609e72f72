"""Whether the keys of a destination went back to an older state: what a worker compares from one look to the next.

That they did is kept for a day in the field `went_back_at` of the hash `state`, a moment of the destination's clock.
"""

from dataclasses import dataclass

from contact_ingest.store.scripts import Store


@dataclass(frozen=True, slots=True)
class Marks:
    """What only grows while the keys of a destination are what they were: the counters `version` and `batch_seq`. The
    epoch changes with the server's `run_id` only."""

    version: int
    batch_seq: int
    epoch: str
    run_id: str

    def went_back(self, now: "Marks") -> bool:
        """Whether the keys are of an older state `now`, or are new ones."""
        deleted = bool(self.epoch) and self.epoch != now.epoch and now.run_id in ("", self.run_id)
        return now.version < self.version or now.batch_seq < self.batch_seq or deleted


def read_marks(store: Store) -> Marks:
    """The marks of a destination as they are now."""
    pipe = store.client.pipeline(transaction=False)
    pipe.mget(store.keys("version"), store.keys("batch_seq"))
    pipe.hmget(store.keys("epoch"), "id", "run_id")
    (version, batch_seq), (epoch, run_id) = pipe.execute()
    return Marks(int(version or 0), int(batch_seq or 0), (epoch or b"").decode(), (run_id or b"").decode())


def note_went_back(store: Store, now_ms: int) -> None:
    """Remember it for `status` and the doctor."""
    store.run("write", "none", "HSET", "state", "went_back_at", now_ms)


def forget_went_back(store: Store) -> None:
    store.client.hdel(store.keys("state"), "went_back_at")
