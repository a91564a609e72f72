"""Fail-points: named steps at which a process can be made to die or to stand still, so that recovery can be proved at
each of them.

`CONTACT_INGEST_TRAPS` names a directory of traps; nothing else, and nothing in production, turns this on. A trap is a
file with a step's name; it holds what happens to the first process that comes by: `KILL`, `STOP` or another signal,
and `group` behind it if the process's whole group is meant. A trap strikes once, and its file's new name,
`<step>.struck-<pid>-<nanoseconds>`, shows whom, where and when.
"""

import os
import signal
import time
from pathlib import Path

#: Scripts of the store that write; every run of one is a step before it and a step after it.
SCRIPTS = (
    "limiter_acquire",
    "lane_cancel",
    "batch_claim",
    "breaker_reset",
    "aggregate_commit",
    "failure_discard",
    "lane_append",
    "batch_make_due",
    "limiter_report",
    "failure_retry",
    "wakeup_allow",
    "batch_settle",
    "claim_without_batch",
    "aggregate_stage",
    "retention_sweep",
    "schedule_tick",
    "write",
)
#: What lies between them, in the order of a contact's journey.
JOURNEY = (
    "tick.looked",
    "aggregate.staged",
    "aggregate.committed",
    "dispatch.claimed",
    "dispatch.sent",
    "dispatch.settled",
    "poll.claimed",
    "poll.asked",
    "poll.fetched",
    "poll.kept",
    "poll.settled",
)
FAILPOINTS = (*JOURNEY, *(f"{script}.{when}" for script in SCRIPTS for when in ("before", "after")))

_traps = os.environ.get("CONTACT_INGEST_TRAPS", "")


def failpoint(name: str) -> None:
    """Be struck here, if a trap is set at this step."""
    if _traps:
        _spring(Path(_traps), name)


def _spring(folder: Path, name: str) -> None:
    struck = folder / f"{name}.struck-{os.getpid()}-{time.monotonic_ns()}"
    try:
        (folder / name).rename(struck)  # one process gets it, however many come by
    except FileNotFoundError:
        return
    what, _, whom = struck.read_text().strip().partition(" ")
    number = signal.Signals[f"SIG{what}"]
    if whom == "group":
        os.killpg(0, number)
    else:
        os.kill(os.getpid(), number)
