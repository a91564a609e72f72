"""What goes on beside a test, in a thread of its own, from `with` to the end of the block."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Self


@contextlib.contextmanager
def repeating(step: Callable[[], object], pause_s: float = 0.01, after_s: float = 0.0) -> Iterator[None]:
    """Do a step again and again, with a pause behind each; the first one after `after_s`."""
    stop = threading.Event()

    def run() -> None:
        stop.wait(after_s)
        while not stop.is_set():
            step()
            stop.wait(pause_s)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Background:
    """A class whose `run` is done in a thread. `run` ends when it sees `stopping`."""

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def run(self) -> None:
        """Must be said by each class."""
        raise AssertionError("this class has nothing to do")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._thread.join()
