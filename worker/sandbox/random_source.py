"""The only random numbers of the sandbox. The same seed and the same order of requests give the same run."""

import random
from collections.abc import Sequence


class RandomSource:
    """A seeded random generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def seed(self, seed: int) -> None:
        self._random.seed(seed)

    def happens(self, share: float) -> bool:
        """True with the probability `share`."""
        return share > 0 and self._random.random() < share

    def between(self, span: tuple[float, float]) -> float:
        """A number from a span (from, to), evenly distributed."""
        return self._random.uniform(*span) if span[1] > span[0] else span[0]

    def one_of(self, choices: Sequence[str]) -> str:
        return self._random.choice(choices)
