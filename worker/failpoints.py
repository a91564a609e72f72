"""Fail points: named places in the code at which a test can kill or stop the process, to prove the recovery from there.

`CONTACT_INGEST_TRAPS` names a directory of traps. Without that variable, as in production, fail points do nothing.

A trap is a file with the name of a fail point. The file holds the name of a signal without `SIG`, and `group` behind it
if the whole process group is meant. Example: the file `dispatch.sent` with the content

    KILL group

kills the first worker, with its pool, that has sent a request and not yet settled the batch. A trap strikes once: the
process that meets it first renames the file to `dispatch.sent.struck-<pid>-<nanoseconds of the monotonic clock>`, which
shows the test which process was struck, where and when.
"""

import os
import signal
import time
from pathlib import Path

#: Lua scripts that write. Each has two fail points: `<script>.before` and `<script>.after` its run.
SCRIPTS = (
    "limiter_acquire",
    "lane_cancel",
    "batch_claim",
    "breaker_reset",
    "aggregate_commit",
    "failure_discard",
    "lane_append",
    "links_save",
    "lane_resume",
    "repair",
    "batch_make_due",
    "limiter_report",
    "failure_retry",
    "wakeup_allow",
    "batch_settle",
    "claim_without_batch",
    "aggregate_stage",
    "retention_sweep",
    "held_lanes_mend",
    "schedule_tick",
    "write",
)
#: Fail points between the scripts, in the order of a contact's journey. `tick` is the ticker's.
JOURNEY = (
    "tick.found",
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
    """Send this process the signal of the trap `name`, if there is one."""
    if _traps:
        _strike(Path(_traps), name)


def _strike(folder: Path, name: str) -> None:
    struck = folder / f"{name}.struck-{os.getpid()}-{time.monotonic_ns()}"
    try:
        (folder / name).rename(struck)  # only one process succeeds, however many try at once
    except FileNotFoundError:
        return
    signal_name, _, target = struck.read_text().strip().partition(" ")
    number = signal.Signals[f"SIG{signal_name}"]
    if target == "group":
        os.killpg(0, number)
    else:
        os.kill(os.getpid(), number)
