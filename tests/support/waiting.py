"""Waiting for conditions, with an end: a test that waits for what never comes fails and says what it saw."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

#: Without any progress for so many seconds, `wait_while_it_progresses` gives up.
STUCK_S = 60.0


def wait_until(condition: Callable[[], Found], timeout_s: float = 20, what: Callable[[], object] | str = "") -> Found:
    """The first true value of the condition; fails with `what` if there is none in time."""
    gives_up_s = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > gives_up_s:
            raise AssertionError(f"not true within {timeout_s} s: {what() if callable(what) else what}")
        time.sleep(0.01)
    return found


def wait_while_it_progresses(
    ended: Callable[[], bool], progress: Callable[[], object], said: Callable[[], str], pause_s: float = 0.05
) -> None:
    """Wait until `ended`, however long that takes. Fail with the end of what was `said` if `progress` stands still."""
    last, changed_s = progress(), time.monotonic()
    while not ended():
        if (now := progress()) != last:
            last, changed_s = now, time.monotonic()
        if time.monotonic() - changed_s > STUCK_S:
            raise AssertionError(f"no progress any more at {last}:\n{said()[-2000:]}")
        time.sleep(pause_s)
