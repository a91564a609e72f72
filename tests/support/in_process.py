"""The whole product in one process, without Celery: for tests that look between two steps."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

from support.background import repeating

from contact_ingest.engine import DestinationRuntime, Engine
from contact_ingest.model.lane import LaneName
from contact_ingest.store import books
from contact_ingest.store.schedule import WakeUp


class Harness:
    """The whole product in one process, without Celery: a test follows wake-ups by hand, in order."""

    def __init__(self, parts: Engine) -> None:
        self.engine = parts

    @property
    def runtime(self) -> DestinationRuntime:
        return self.engine.runtime(self.engine.destinations[0])

    def follow(self, wakeup: WakeUp) -> tuple[WakeUp, ...]:
        runtime = self.engine.runtime(LaneName(wakeup.target).destination)
        if wakeup.kind == "aggregate":
            return runtime.aggregator.aggregate(wakeup.target)
        journey: Callable[[str], tuple[WakeUp, ...]] = (
            runtime.dispatcher.dispatch if wakeup.kind == "dispatch" else runtime.poller.poll
        )
        return journey(wakeup.target)

    def pump(self) -> int:
        """Look once, and do everything that follows from it at once; returns ms until something else is due."""
        ticks = [runtime.schedule.tick(4) for runtime in self.engine.runtimes()]
        wakeups = deque(wakeup for tick in ticks for wakeup in tick.wakeups)
        while wakeups:
            wakeups.extend(self.follow(wakeups.popleft()))
        return min(tick.nearest_ms for tick in ticks)

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not reached in time: {self.books()}"
            self.pump()
            time.sleep(0.005)

    def run_until_settled(self, timeout_s: float = 30) -> None:
        """Until nothing waits, is held or is in flight."""
        self.run_until(lambda: not any(self.books()[name] for name in ("waiting", "held", "batched")), timeout_s)

    def books(self, destination: str | None = None) -> dict[str, int]:
        runtime = self.engine.runtime(destination) if destination else self.runtime
        return books.totals(books.read(runtime.store))

    def assert_books_balance(self) -> None:
        for runtime in self.engine.runtimes():
            for lane in books.read(runtime.store):
                assert lane.balanced, lane
                assert books.disagreements(runtime.store, lane.lane) == []


def pumping(harness: Harness) -> AbstractContextManager[None]:
    """Another thread does what is due, as a worker would, until the block ends."""
    return repeating(harness.pump)
