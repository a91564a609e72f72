"""How long a producer waits for room, and in what pauses. Sleeping is left to the caller, which may be asynchronous."""

import random
import time

PAUSE_FIRST_S, PAUSE_GROWTH, PAUSE_LAST_S = 0.05, 1.5, 1.0


class Patience:
    """How long an enqueue may wait for room, in all: from the refusal of a call until it is taken. Pauses grow from try
    to try, and no two producers make the same ones."""

    def __init__(self, wait_s: float = 0) -> None:
        self.wait_s = wait_s
        self._left_s = wait_s
        self._since_s: float | None = None
        self._pause_s = PAUSE_FIRST_S

    def pause_s(self) -> float | None:
        """The next pause; None at the end of the patience."""
        self._spend()
        self._since_s = time.monotonic()
        if self._left_s <= 0:
            return None
        pause_s = min(self._left_s, self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(PAUSE_LAST_S, self._pause_s * PAUSE_GROWTH)
        return pause_s

    def restore(self) -> None:
        """A call was taken: what is left of the patience is for the next one."""
        self._spend()
        self._pause_s = PAUSE_FIRST_S

    def _spend(self) -> None:
        if self._since_s is not None:
            self._left_s -= time.monotonic() - self._since_s
            self._since_s = None
