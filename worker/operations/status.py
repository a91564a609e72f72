"""The status of lanes and batches in words for the person on call: state, reason, rate, time left, next event.

Pure. The input is what `contact_ingest.store.inspect` has read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from contact_ingest.model.batch import BatchState
from contact_ingest.model.failure_codes import is_own_reason
from contact_ingest.store.books import balanced, totals
from contact_ingest.store.inspect import BatchView, DestinationView, LaneView

#: The rate of a lane is measured over the batches that ended within this time.
RATE_WINDOW_MS = 60_000
#: A lane that has waited for longer than its longest wait by this much is not waiting for a fuller body any more.
OVERDUE_MS = 1_000


class LaneState(StrEnum):
    """What a lane is doing."""

    #: Nothing is in the lane.
    IDLE = "idle"
    #: Records wait, and no batch is in flight.
    WAITING = "waiting"
    #: At least one batch is to be sent.
    SENDING = "sending"
    #: All batches are imports at the platform.
    IMPORTING = "importing"
    #: A person has paused the lane or its destination.
    PAUSED = "paused"
    #: The platform has refused the credentials, an option of the lane, or the like. Probes or trials go on.
    STOPPED = "stopped"
    #: Records are in the lane, and no worker lives.
    UNATTENDED = "unattended"


#: States that last until a person acts, or until a probe succeeds.
HALTED = (LaneState.STOPPED, LaneState.PAUSED, LaneState.UNATTENDED)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane, explained. `why` is the reason for the state. `rate_per_s` is rows delivered a second, None if no batch
    ended lately. `next` is the next event and its time: `send in 3 s`."""

    view: LaneView
    destination: str
    state: LaneState
    why: str
    oldest_waiting_s: float | None
    rate_per_s: float | None
    next: str | None

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the lane is empty at the present rate; None if the rate is unknown."""
        if not self.view.left:
            return 0.0
        return round(self.view.left / self.rate_per_s, 1) if self.rate_per_s else None

    def public(self) -> dict[str, Any]:
        """The status as `contact-ingest status --json` shows it."""
        books = self.view.books
        return {
            "lane": books.lane,
            "destination": self.destination,
            **books.counts,
            "balanced": books.balanced,
            "oldest_waiting_s": self.oldest_waiting_s,
            "state": self.state,
            "why": self.why,
            "rate_per_s": self.rate_per_s,
            "time_left_s": self.time_left_s,
            "next": self.next,
        }


def lanes(view: DestinationView, *, attended: bool) -> list[LaneStatus]:
    """The status of every lane of a destination. `attended` says whether a worker lives."""
    open_, recent = _by_lane(view.open), _by_lane(view.recent)
    return [
        _lane(view, lane, open_.get(lane.books.lane, ()), recent.get(lane.books.lane, ()), attended=attended)
        for lane in view.lanes
    ]


def _by_lane(batches: Iterable[BatchView]) -> dict[str, list[BatchView]]:
    found: dict[str, list[BatchView]] = {}
    for batch in batches:
        found.setdefault(batch.lane, []).append(batch)
    return found


def sums(statuses: Sequence[LaneStatus]) -> dict[str, Any]:
    """The books of all lanes together, and whether each of them balances."""
    books = [status.view.books for status in statuses]
    counts = totals(books) | {name: sum(lane.counts[name] for lane in books) for name in ("repeated", "dropped")}
    return {**counts, "balanced": balanced(counts) and all(lane.balanced for lane in books)}


def ends_well(statuses: Iterable[LaneStatus]) -> bool:
    """Whether no record is on its way, none has failed, and no failed row is unattributed (counted by the platform but
    not named)."""
    names = ("waiting", "held", "batched", "failed", "unattributed")
    return not any(status.view.books.counts[name] for status in statuses for name in names)


def why_batch(batch: BatchView, now_ms: int, children: Sequence[int]) -> str:
    """Why a batch is in its state. `children` are the batches that its rows went to."""
    again = soon(batch.due_ms, now_ms)
    state = BatchState(batch.state)
    match state:
        case BatchState.DONE if children:
            return f"its rows went on as {_counted(len(children), 'batch', 'batches')}"
        case BatchState.DONE:
            return f"ended: {batch.count('delivered')} delivered, {batch.count('failed')} failed"
        case BatchState.SENDING:
            return f"a worker is sending it; if that worker dies, it is due again {again}"
        case BatchState.POLLING:
            return f"the platform has taken it in as a job{_last_seen(batch)}; asked about {again}"
        case BatchState.FETCHING_ERRORS:
            return f"the job has ended with errors; its error file is fetched {again}"
        case BatchState.READY:
            return _why_ready(batch, again)
        case _:
            assert_never(state)


def _why_ready(batch: BatchView, again: str) -> str:
    code = batch.fields.get("code")
    if batch.due_ms is None:
        return "its lane is paused or stopped: see status"
    if batch.is_search:
        return f"the platform refused it and named nobody: parts are sent to find the record, the next {again}"
    return f"{_outcome(code)} (attempt {batch.count('attempts')}); sent again {again}" if code else f"sent {again}"


def _outcome(code: str) -> str:
    """How the last attempt ended. A defect of our own is no answer of the platform."""
    return f"stopped in this program: {code}" if is_own_reason(code) else f"answered {code}"


def soon(at_ms: int | None, now_ms: int) -> str:
    """The time until a moment: `now`, `in 42 s`, `in 12 min` or `in 3 h`."""
    left_s = 0 if at_ms is None else -((now_ms - at_ms) // 1000)
    if left_s <= 0:
        return "now"
    return "in " + span(left_s)


def span(seconds: float) -> str:
    """A duration: `42 s`, `12 min`, `3 h` or `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lane(
    view: DestinationView, lane: LaneView, mine: Sequence[BatchView], recent: Sequence[BatchView], *, attended: bool
) -> LaneStatus:
    """The status of a lane. `mine` are its batches in flight, `recent` its batches among the newest."""
    idle = (LaneState.IDLE, "idle")
    state, why = _stopped_or_paused(view, lane) or (_moving(view, lane, mine) if lane.left else idle)
    if not attended and lane.left and state not in (LaneState.STOPPED, LaneState.PAUSED):
        state, why = LaneState.UNATTENDED, "no worker is running"
    oldest_s = None if lane.oldest_ms is None else round(max(0, view.now_ms - lane.oldest_ms) / 1000, 1)
    return LaneStatus(lane, view.destination, state, why, oldest_s, _rate(view, recent), _next(view, lane, mine, state))


def _stopped_or_paused(view: DestinationView, lane: LaneView) -> tuple[LaneState, str] | None:
    destination = view.state
    why = destination.get("why", "")
    if destination.get("state") == LaneState.STOPPED:
        probe = soon(int(destination.get("probe_at", 0)), view.now_ms)
        return LaneState.STOPPED, f"stopped: {why} ({destination.get('code', 'stopped')}); probing again {probe}"
    if destination.get("state") == LaneState.PAUSED:
        return LaneState.PAUSED, _paused("the destination is paused", why)
    if lane.paused is not None:
        return LaneState.PAUSED, _paused("paused", lane.paused)
    if lane.stopped is not None:
        stop, again = lane.stopped, soon(lane.stopped.try_ms, view.now_ms)
        return LaneState.STOPPED, f"this lane is stopped: {stop.why} ({stop.code}); tried again {again}"
    return None


def _paused(what: str, why: str) -> str:
    return f"{what} by hand: {why}" if why else f"{what} by hand"


def _moving(view: DestinationView, lane: LaneView, mine: Sequence[BatchView]) -> tuple[LaneState, str]:
    """State and reason of a lane that is neither idle nor halted. `mine` are the lane's batches in flight."""
    to_send = [batch for batch in mine if batch.state in (BatchState.READY, BatchState.SENDING)]
    if view.breaker.open_until is not None:
        state = LaneState.SENDING if to_send else LaneState.IMPORTING if mine else LaneState.WAITING
        return state, f"the platform does not answer; asked again {soon(view.breaker.open_until, view.breaker.now)}"
    if to_send:
        return LaneState.SENDING, _sending(view, to_send)
    if mine:
        files = sum(batch.state == BatchState.FETCHING_ERRORS for batch in mine)
        if files == len(mine):
            return LaneState.IMPORTING, f"fetching the error files of {_counted(files, 'import', 'imports')}"
        return LaneState.IMPORTING, f"{_counted(len(mine) - files, 'import', 'imports')} pending at the platform"
    return LaneState.WAITING, _waiting(view, lane)


def _sending(view: DestinationView, to_send: Sequence[BatchView]) -> str:
    """Why batches that are to be sent have not been sent yet."""
    ready = [batch for batch in to_send if batch.state == BatchState.READY]
    now_ms = view.now_ms
    due = [batch for batch in ready if (batch.due_ms or 0) <= now_ms]
    limit_ms = int(view.state.get("wait_until", 0))
    if len(ready) < len(to_send):
        return f"sending: {_counted(len(to_send), 'batch', 'batches')} to go"
    if blocked_ms := view.breaker.blocked_ms("upsert"):
        return f"the platform answers, and fails to take batches in; tried again in {span(blocked_ms / 1000)}"
    if due and limit_ms > now_ms:
        return f"waiting for the rate limit, {span(-((now_ms - limit_ms) // 1000))} more"
    if any(batch.is_search for batch in to_send):
        rows = sum(batch.count("rows") for batch in to_send)
        return f"searching {_counted(rows, 'row', 'rows')} for the record that the platform refuses"
    if not due:
        first = min(ready, key=lambda batch: batch.due_ms or 0)
        code = first.fields.get("code", "")
        said = f" was {_outcome(code)} (attempt {first.count('attempts')})" if code else " is due"
        return f"batch {first.number}{said}{':' if code else ''} {'again ' if code else ''}{soon(first.due_ms, now_ms)}"
    return f"{_counted(len(due), 'batch', 'batches')} ready to be sent"


def _waiting(view: DestinationView, lane: LaneView) -> str:
    """Why the records of a lane have not been packed yet."""
    counts, now_ms = lane.books.counts, view.now_ms
    if counts["held"] and not counts["waiting"] and view.free_ms is not None:
        return f"held: a request of unknown fate may still reach the platform; free {soon(view.free_ms, now_ms)}"
    if counts["held"] and not counts["waiting"] and view.open:
        return "held: these contacts are in flight"
    if view.memory.is_spent:
        return "Redis has no memory left, not even to make room: nothing is cut before there is some"
    if lane.due_ms is None or lane.due_ms <= now_ms:
        return "about to be cut into a body"
    return _due_later(view, lane, lane.due_ms)


def _due_later(view: DestinationView, lane: LaneView, due_ms: int) -> str:
    now_ms = view.now_ms
    overdue = lane.oldest_ms is not None and now_ms - lane.oldest_ms > lane.max_wait_ms + OVERDUE_MS
    if overdue and view.memory.is_short:
        return "Redis is short of memory: cut in small bodies, one after the other"
    left = span(-((now_ms - due_ms) // 1000))
    if overdue and view.open:
        return "waiting for other batches of the destination to end"
    if overdue and not view.knows_fields:
        return f"waiting for the account's field definitions, {left} more"
    return f"waiting for a fuller body, {left} more"


def _rate(view: DestinationView, recent: Sequence[BatchView]) -> float | None:
    """Rows delivered a second by those of a lane's newest batches that ended within the window."""
    since_ms = view.now_ms - RATE_WINDOW_MS
    ended = [batch for batch in recent if batch.count("ended_ms") >= since_ms]
    if not (delivered := sum(batch.count("delivered") for batch in ended)):
        return None
    began_ms = max(since_ms, min(batch.count("created_ms") for batch in ended))
    return round(delivered / max(1.0, (view.now_ms - began_ms) / 1000), 1)


def _next(view: DestinationView, lane: LaneView, mine: Sequence[BatchView], state: LaneState) -> str | None:
    """The next event of a lane and its time: `probe in 42 s`, `send now`, `answer`."""
    if state == LaneState.STOPPED and lane.stopped is not None and view.state.get("state") != LaneState.STOPPED:
        return f"try {soon(lane.stopped.try_ms, view.now_ms)}"
    if state == LaneState.STOPPED:
        return f"probe {soon(int(view.state.get('probe_at', 0)), view.now_ms)}"
    events = [(batch.due_ms or 0, _next_event(BatchState(batch.state))) for batch in mine]
    if state == LaneState.PAUSED:
        events = [(at_ms, what) for at_ms, what in events if what in ("ask", "fetch")]
    elif lane.due_ms is not None and lane.left:
        events.append((lane.due_ms, "cut"))
    if not events:
        return None
    if view.breaker.open_until is not None:
        return f"ask {soon(view.breaker.open_until, view.breaker.now)}"
    at_ms, what = min(events)
    return what if what == "answer" else f"{what} {soon(at_ms, view.now_ms)}"


def _next_event(state: BatchState) -> str:
    match state:
        case BatchState.READY:
            return "send"
        case BatchState.SENDING:
            return "answer"
        case BatchState.POLLING:
            return "ask"
        case BatchState.FETCHING_ERRORS:
            return "fetch"
        case BatchState.DONE:
            return "done"
        case _:
            assert_never(state)


def _last_seen(batch: BatchView) -> str:
    seen = batch.fields.get("job_status")
    return f" ({seen} when last asked)" if seen else ""


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
