"""A guard between an owner and one child process: the child ends when the owner ends, whatever ends the owner.

`GuardedProcess` is the owner's side. It runs this file by its path (`python -I -S process_guard.py OWNER_PID SCRATCH
COMMAND...`), so the guard needs the standard library only and loads no package of ours. The guard starts COMMAND,
prints the child's process id as one line, and then reads its standard input, a pipe from the owner:

- the letter `t` ends the child in order: SIGTERM, and SIGKILL after `TERMINATE_WITHIN_S`;
- the letter `k` ends the child at once: SIGKILL;
- the end of the pipe means that the owner is dead. The child ends in order, and the guard removes the directory SCRATCH
  (an empty word: there is none).

A process forked by the owner may hold the pipe open after the owner's death. The guard therefore also compares its
parent's id with OWNER_PID every `PARENT_CHECK_S`. (Linux's PR_SET_PDEATHSIG could tie the child to its parent, but only
to the thread that started it, and macOS has nothing like it.)
"""

import contextlib
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

TERMINATE = b"t"
KILL = b"k"
TERMINATE_WITHIN_S = 5.0
PARENT_CHECK_S = 0.5


class GuardedProcess:
    """A running child process and its guard, as the owner sees them. `pid` is the child's; 0 if it did not start.

    The guard has a session of its own: Ctrl-C reaches the owner only, who then ends the child in order. What the child
    writes to either stream goes to `log`.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        scratch: Path | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        guard = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(scratch or "")]
        with log.open("ab") as written:
            self._guard = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline() or 0)

    @property
    def is_alive(self) -> bool:
        return self._guard.poll() is None

    def wait(self, timeout_s: float) -> None:
        """Wait until the child has ended, at most so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(timeout_s)

    def end(self, letter: bytes = TERMINATE) -> None:
        """End the child with `TERMINATE` or `KILL`, and return once it has ended."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        with contextlib.suppress(BrokenPipeError), self._guard.stdin as pipe:
            pipe.write(letter)
        self._guard.wait()
        self._guard.stdout.close()


def main(owner_pid: int, scratch: str, command: Sequence[str]) -> None:
    """The guard itself: start the child, wait for the owner's word or death, end the child."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    letter = _wait_for_letter(child, owner_pid)
    if letter == KILL:
        child.kill()
    elif letter is not None:
        _terminate(child)
    child.wait()
    if letter == b"" and scratch:
        shutil.rmtree(scratch, ignore_errors=True)


def _wait_for_letter(child: "subprocess.Popen[bytes]", owner_pid: int) -> bytes | None:
    """The owner's letter, empty if the owner is dead, None if the child has ended by itself."""
    child_ended, held_by_child_wait = os.pipe()

    def close_when_child_ends() -> None:
        child.wait()
        os.close(held_by_child_wait)

    threading.Thread(target=close_when_child_ends, daemon=True).start()
    while child.poll() is None:
        if 0 in select.select([0, child_ended], [], [], PARENT_CHECK_S)[0]:
            return os.read(0, 1)
        if os.getppid() != owner_pid:
            return b""
    return None


def _terminate(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(TERMINATE_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
