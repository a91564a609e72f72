"""Traps at the fail-points: set before or while workers run, sprung by the first process that comes by."""

from dataclasses import dataclass
from pathlib import Path

from contact_ingest.failpoints import FAILPOINTS


@dataclass(frozen=True, slots=True)
class Strike:
    """A trap that has struck: at which step, whom, and when (nanoseconds of the monotonic clock)."""

    step: str
    pid: int
    at_ns: int


class Traps:
    """A directory of traps; workers are given it as `TRAPS`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def set(self, step: str, what: str = "KILL", *, group: bool = False) -> None:
        """`what` is the name of a signal, without SIG; `group` means the worker as a whole, not only the process."""
        assert step in FAILPOINTS
        # Written under another name first: whoever comes by must find it whole.
        draft = self.directory / f"{step}.draft"
        draft.write_text(f"{what} group" if group else what)
        draft.rename(self.directory / step)

    def lift(self, step: str) -> bool:
        """Take a trap away that has not struck; False if it has, or was not set."""
        try:
            (self.directory / step).unlink()
        except FileNotFoundError:
            return False
        return True

    def strikes(self) -> list[Strike]:
        """All that have struck, oldest first."""
        found = []
        for path in self.directory.glob("*.struck-*"):
            step, _, rest = path.name.partition(".struck-")
            pid, _, at_ns = rest.partition("-")
            found.append(Strike(step, int(pid), int(at_ns)))
        return sorted(found, key=lambda strike: strike.at_ns)
