"""What the person on call does all the time, faults or none: retries what got no verdict, pauses and resumes, flushes,
discards, and cancels what was regretted."""

import queue
import random
import time

from redis.exceptions import RedisError
from support.background import Background
from support.checker import NO_VERDICT
from world import World

LOOK_S = 0.1
#: Seconds between two duties, at least and at most.
BETWEEN_S = (0.6, 2.0)


class Duties(Background):
    """In a thread of their own from `with` to the end of the block; what is paused is resumed before that."""

    def __init__(self, world: World, seed: str) -> None:
        super().__init__("duties")
        self._world = world
        self._draw = random.Random(seed)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._cancel_regretted()

    def run(self) -> None:
        duties = {self._retry: 2, self._pause: 3, self._flush: 2, self._discard: 1, self._forget_fields: 2}
        at_s = time.monotonic()
        while not self.stopping.wait(LOOK_S):
            self._cancel_regretted()
            if time.monotonic() >= at_s:
                at_s = time.monotonic() + self._draw.uniform(*BETWEEN_S)
                duty = self._draw.choices(list(duties), list(duties.values()))[0]
                try:
                    duty()
                except RedisError:
                    continue  # looked for something while Redis was away

    def _cancel_regretted(self) -> None:
        while True:
            try:
                lane, first, last = self._world.regrets.get_nowait()
            except queue.Empty:
                return
            self._world.operator.order("cancel", lane=lane, first=first, last=last)

    def _retry(self) -> None:
        self._world.retry(NO_VERDICT)

    def _pause(self) -> None:
        """A lane, or all of them."""
        lanes = [None, *sorted({sent.lane for sent in self._world.history.sent[-500:]})]
        lane = self._draw.choice(lanes)
        with self._world.standing():
            self._world.operator.order("pause", lane=lane)
            self.stopping.wait(self._draw.uniform(0.2, 0.8))
            self._world.operator.order("resume", lane=lane)

    def _flush(self) -> None:
        self._world.operator.order("flush")

    def _discard(self) -> None:
        """A few that were bad on purpose."""
        bad = {sent.id for sent in self._world.history.sent if sent.may_fail_as and not sent.stays}
        failed = [failure.id for failure in self._world.sampler.look_at_failures() if failure.id in bad]
        self._world.operator.order("discard", ids=self._draw.sample(failed, min(2, len(failed))))

    def _forget_fields(self) -> None:
        self._world.store.client.delete(self._world.store.keys("custom_fields"))
