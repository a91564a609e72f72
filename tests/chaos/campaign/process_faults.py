"""Processes that die, end or stand still: at a named step of the code, or at any moment.

A strike at a step is proved by the trap's own file, which tells whom and where, and by the process being gone.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from plan import Kind, Turn
from support.checker import NO_VERDICT
from support.traps import Strike
from terms import LEASE_S, WIDOWED_S
from world import World

from contact_ingest.failpoints import FAILPOINTS

#: How long a step may take to be come by, and a process to be gone.
COMES_BY_S = 8.0
GONE_S = 10.0
#: Time in which one who was stopped does what he was about to do.
GOES_ON_S = 0.5


def _around(*scripts: str) -> tuple[str, ...]:
    return tuple(f"{script}.{when}" for script in scripts for when in ("before", "after"))


#: Here something may have been sent, and nobody knows what came of it: these come first.
SENT = ("dispatch.sent", "limiter_report.before", "batch_settle.before", "limiter_report.after")
#: Who comes by where: the ticker of a worker, a person on call, a producer, and for the rest the tasks in a pool.
TICKER = ("tick.found", *_around("schedule_tick", "retention_sweep"))
ON_CALL = _around("lane_cancel", "failure_discard", "failure_retry", "breaker_reset", "lane_resume")
DOOR = _around("lane_append")
#: What nobody comes by in a run: a repair by hand, and what a ticker does once a minute.
RARE = _around("repair", "held_lanes_mend")
TASKS = (*SENT, *(step for step in FAILPOINTS if step not in {*SENT, *TICKER, *ON_CALL, *DOOR, *RARE}))

#: Who stands still here is overtaken, and goes on with what is no longer his.
OVERTAKEN = tuple(
    dict.fromkeys(("batch_settle.before", "dispatch.sent", "aggregate_commit.before", "poll.asked", *TASKS))
)


def _known(world: World, steps: Sequence[str]) -> Sequence[str]:
    """Those that somebody comes by at this platform."""
    never = () if world.platform.has_jobs else ("poll.",)
    never += () if world.platform.dialect.external_id else ("links_save.",)
    return [step for step in steps if not step.startswith(never)]


def _child_at_step(world: World, turn: Turn) -> str | None:
    return _killed(world, turn.of(_known(world, TASKS)), group=False)


def _worker_at_step(world: World, turn: Turn) -> str | None:
    return _killed(world, turn.of(_known(world, (*SENT, *TICKER, *TASKS[len(SENT) :]))), group=True)


def _operator_at_step(world: World, turn: Turn) -> str | None:
    return _killed(world, turn.of(ON_CALL), group=False, ordinal=turn.ordinal)


def _producer(world: World, turn: Turn) -> str | None:
    """At a step of the door, and at any moment in turn."""
    if turn.ordinal % 3:
        return _killed(world, turn.of(DOOR), group=False)
    pid = world.mortal.pid
    if not pid:
        return None
    os.kill(pid, signal.SIGKILL)
    return "producer_killed" if _is_gone(pid) else None


def _worker(world: World, turn: Turn) -> str | None:
    if not (living := world.crew.living()):
        return None
    worker = turn.draw.choice(living)
    pid = worker.pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
        return "worker_killed"
    return None


def _terminated(world: World, turn: Turn) -> str | None:
    if not (living := world.crew.living()):
        return None
    world.crew.retire(turn.draw.choice(living))
    return "worker_terminated"


def _stopped_at_step(world: World, turn: Turn) -> str | None:
    group = turn.draw.random() < 0.3
    strike = _strike(world, turn.of(_known(world, OVERTAKEN)), "STOP", group=group)
    if strike is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        worker = os.getpgid(strike.pid)
        world.crew.spared.add(worker)
        world.rest(LEASE_S + turn.draw.uniform(1, 2.5))
        (os.killpg if group else os.kill)(worker if group else strike.pid, signal.SIGCONT)
        time.sleep(GOES_ON_S)
        world.crew.spared.discard(worker)
    return "stopped_at_step"


def _worker_stopped(world: World, turn: Turn) -> str | None:
    if not (living := world.crew.living()):
        return None
    pid = turn.draw.choice(living).pid
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGSTOP)
        world.rest(LEASE_S + turn.draw.uniform(1, 2.5))
        os.killpg(pid, signal.SIGCONT)
        return "worker_stopped"
    return None


def _killed(world: World, step: str, *, group: bool, ordinal: int = 0) -> str | None:
    strike = _strike(world, step, "KILL", group=group, ordinal=ordinal)
    if strike is not None and step in SENT:
        world.update_recent(f"{step}-{strike.at_ns}")
    if strike is None or not _is_gone(strike.pid):
        return None
    if strike.pid in world.operator.pids:
        return "operator_killed"
    if strike.pid in world.mortal.pids:
        return "producer_killed"
    return "worker_killed_at_step" if group or strike.pid in world.crew.pids else "child_killed_at_step"


def _strike(world: World, step: str, what: str, *, group: bool, ordinal: int = 0) -> Strike | None:
    """Set a trap and see it strike; None if nobody came by."""
    with world.lock(step):
        before = len(_at(world, step))
        if step in SENT and world.platform.has_jobs:
            world.append("job_script", [WIDOWED_S] * 2)
        world.traps.set(step, what, group=group)
        script = step.partition(".")[0]
        if script in PROVOKED:
            PROVOKED[script](world, ordinal)
        gives_up_s = time.monotonic() + COMES_BY_S
        while len(_at(world, step)) == before:
            if world.calm.is_set() or time.monotonic() > gives_up_s:
                # Between the last look and this somebody may have come by.
                return None if world.traps.lift(step) else _at(world, step)[-1]
            time.sleep(0.02)
        return _at(world, step)[-1]


def _at(world: World, step: str) -> Sequence[Strike]:
    return [strike for strike in world.traps.strikes() if strike.step == step]


def _is_gone(pid: int) -> bool:
    gives_up_s = time.monotonic() + GONE_S
    while time.monotonic() < gives_up_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def _resume_lane(world: World, _: int) -> None:
    lanes = {sent.lane for sent in world.history.sent[-100:]}
    world.operator.order("resume", lane=min(lanes, default=None))


def _forget_fields(world: World, _: int) -> None:
    """Definitions are fetched when they are not known."""
    world.store.client.delete(world.store.keys("custom_fields"))


def _replace_one(world: World, ordinal: int) -> None:
    """A worker sweeps when it starts."""
    if living := world.crew.living():
        world.crew.retire(living[ordinal % len(living)])


def _regret(world: World, ordinal: int) -> None:
    call = world.traffic(f"regret-{ordinal}-{time.monotonic_ns()}").regretted()
    lane, first = world.enqueue(call)
    world.operator.order("cancel", lane=lane, first=first, last=first + len(call.made) - 1)


def _discard(world: World, ordinal: int) -> None:
    bad = {sent.id for sent in world.history.sent if sent.may_fail_as and not sent.stays}
    failed = [failure.id for failure in world.sampler.look_at_failures() if failure.id in bad]
    world.operator.order("discard", ids=failed[ordinal % 3 :][:2] or [f"{world.platform.name}:0"])


def _retry(world: World, ordinal: int) -> None:
    """What was bad fails again; without a failure there would be nothing to do."""
    bad = world.platform.dialect.bad
    world.retry([*sorted(NO_VERDICT), bad[ordinal % len(bad)].code, "too_long"])


def _outage(world: World, _: int) -> None:
    """So many failures in a row that the platform is left alone; when it answers again, what backed off is hastened."""
    world.append("script", ["503"] * 7)


def _close(world: World, ordinal: int) -> None:
    """Somebody who knows better does not wait for that."""
    _outage(world, ordinal)
    world.operator.order("resume", lane=None)


#: Steps that nobody comes by unless something is done for it.
PROVOKED: dict[str, Callable[[World, int], Any]] = {
    "claim_without_batch": _forget_fields,
    "retention_sweep": _replace_one,
    "lane_cancel": _regret,
    "failure_discard": _discard,
    "failure_retry": _retry,
    "breaker_reset": _close,
    "lane_resume": _resume_lane,
    "batch_make_due": _outage,
}

KINDS = (
    Kind("child_killed_at_step", "SIGKILL of a pool's child at a step", _child_at_step, 3.0),
    Kind("worker_killed_at_step", "SIGKILL of a whole worker at a step", _worker_at_step, 1.5),
    Kind("operator_killed", "SIGKILL of a retry, cancel, discard or resume at a step", _operator_at_step),
    Kind("producer_killed", "SIGKILL of a producer, at a step or anywhere", _producer, 1.2),
    Kind("worker_killed", "SIGKILL of a whole worker at any moment", _worker),
    Kind("worker_terminated", "SIGTERM of a worker", _terminated),
    Kind("stopped_at_step", "SIGSTOP at a step, beyond the lease", _stopped_at_step, 2.0),
    Kind("worker_stopped", "SIGSTOP of a whole worker, beyond the lease", _worker_stopped),
)
