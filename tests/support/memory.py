"""Memory of processes, as the kernel counts it. Linux only: elsewhere every figure is None."""

from pathlib import Path

#: The kernel's figures of one process.
STATUS = "/proc/{pid}/status"


def peak_bytes(pid: int | str = "self") -> int | None:
    """The most memory that a process has had resident."""
    return _status(pid, "VmHWM")


def resident_bytes(pid: int | str = "self") -> int | None:
    """The memory that a process has resident now."""
    return _status(pid, "VmRSS")


def forget_peak() -> None:
    """Let this process's peak begin anew at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(pid: int | str, name: str) -> int | None:
    try:
        lines = Path(STATUS.format(pid=pid)).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


class Peaks:
    """The most memory that each process of a worker has had: its main process and its pool's children, also those that
    have ended since. Complete only if `look` is called while each of them lives."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.by_pid: dict[int, int] = {}

    def look(self) -> None:
        """Note the peaks of now."""
        for pid in (self._pid, *children(self._pid)):
            found = peak_bytes(pid)
            if found is not None:
                self.by_pid[pid] = max(found, self.by_pid.get(pid, 0))

    @property
    def main(self) -> int | None:
        return self.by_pid.get(self._pid)

    @property
    def pool(self) -> list[int]:
        """Peaks of the pool's children, the largest first."""
        return sorted((peak for pid, peak in self.by_pid.items() if pid != self._pid), reverse=True)


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
