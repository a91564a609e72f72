"""What a lane or a batch is doing, in words for the person on call: state, why, how fast, how long still, what next.

Pure: it explains what `store.overview` has read, and asks nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from contact_ingest.store.books import balanced, totals
from contact_ingest.store.inspect import BatchView, DestinationView, LaneView

#: The pace of a lane is that of the batches which ended in so long.
PACE_MS = 60_000
STOPPED, PAUSED, IDLE, UNATTENDED = "stopped", "paused", "idle", "unattended"
#: States that last until somebody does something about them.
HALTED = (STOPPED, PAUSED, UNATTENDED)
#: Past this, a lane that is due and not cut has another reason than waiting for a fuller body.
OVERDUE_MS = 1_000


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane, explained. `state` is idle, waiting, sending, importing, paused, stopped or unattended."""

    view: LaneView
    destination: str
    state: str
    why: str
    oldest_waiting_s: float | None
    rate_per_s: float | None
    next: str | None

    @property
    def time_left_s(self) -> float | None:
        if not self.view.left:
            return 0.0
        return round(self.view.left / self.rate_per_s, 1) if self.rate_per_s else None

    def public(self) -> dict[str, Any]:
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
    """Every lane of a destination; `attended` tells that a worker lives."""
    return [_lane(view, lane, attended=attended) for lane in view.lanes]


def sums(statuses: Sequence[LaneStatus]) -> dict[str, Any]:
    books = [status.view.books for status in statuses]
    counts = totals(books) | {name: sum(lane.counts[name] for lane in books) for name in ("repeated", "dropped")}
    return {**counts, "balanced": balanced(counts) and all(lane.balanced for lane in books)}


def ends_well(statuses: Iterable[LaneStatus]) -> bool:
    """Nothing on its way, nothing failed, nothing that the platform counted as failed without naming it."""
    names = ("waiting", "held", "batched", "failed", "unattributed")
    return not any(status.view.books.counts[name] for status in statuses for name in names)


def why_batch(batch: BatchView, now_ms: int, children: Sequence[int]) -> str:
    """Why a batch is where it is."""
    again = soon(batch.due_ms, now_ms)
    code, ended = (
        batch.fields.get("code"),
        f"ended: {batch.count('delivered')} delivered, {batch.count('failed')} failed",
    )
    words = {
        "done": f"its rows went on as {_counted(len(children), 'batch', 'batches')}" if children else ended,
        "sending": f"a worker is sending it; if that worker dies, it is due again {again}",
        "polling": f"the platform has taken it in as a job{_last_seen(batch)}; asked about {again}",
        "fetching_errors": f"the job has ended with errors; its error file is fetched {again}",
    }
    if batch.state in words:
        return words[batch.state]
    if batch.is_search:
        return f"the platform refused it and named nobody: parts are sent to find the record, the next {again}"
    return f"answered {code} (attempt {batch.count('attempts')}); sent again {again}" if code else f"sent {again}"


def soon(at_ms: int | None, now_ms: int) -> str:
    """`now`, `in 42 s`, `in 12 min`, `in 3 h`."""
    left_s = 0 if at_ms is None else -((now_ms - at_ms) // 1000)
    if left_s <= 0:
        return "now"
    return "in " + span(left_s)


def span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _lane(view: DestinationView, lane: LaneView, *, attended: bool) -> LaneStatus:
    mine = [batch for batch in view.open if batch.lane == lane.books.lane]
    state, why = _standing(view, lane) or ((IDLE, "idle") if not lane.left else _moving(view, lane, mine))
    if not attended and lane.left and state not in (STOPPED, PAUSED):
        state, why = UNATTENDED, "no worker is running"
    oldest_s = None if lane.oldest_ms is None else round(max(0, view.now_ms - lane.oldest_ms) / 1000, 1)
    return LaneStatus(lane, view.destination, state, why, oldest_s, _rate(view, lane), _next(view, lane, mine, state))


def _standing(view: DestinationView, lane: LaneView) -> tuple[str, str] | None:
    """Stopped by the platform, or paused by somebody."""
    dest = view.state
    why = dest.get("why", "")
    if dest.get("state") == STOPPED:
        probe = soon(int(dest.get("probe_at", 0)), view.now_ms)
        return STOPPED, f"stopped: {why} ({dest.get('code', STOPPED)}); probing again {probe}"
    if dest.get("state") == PAUSED:
        return PAUSED, _paused("the destination is paused", why)
    return None if lane.paused is None else (PAUSED, _paused("paused", lane.paused))


def _paused(what: str, why: str) -> str:
    return f"{what} by hand: {why}" if why else f"{what} by hand"


def _moving(view: DestinationView, lane: LaneView, mine: Sequence[BatchView]) -> tuple[str, str]:
    to_send = [batch for batch in mine if batch.state in ("ready", "sending")]
    if view.standing.open_until is not None:
        state = "sending" if to_send else "importing" if mine else "waiting"
        return state, f"the platform does not answer; asked again {soon(view.standing.open_until, view.standing.now)}"
    if to_send:
        return "sending", _sending(view, to_send)
    if mine:
        files = sum(batch.state == "fetching_errors" for batch in mine)
        if files == len(mine):
            return "importing", f"fetching the error files of {_counted(files, 'import', 'imports')}"
        return "importing", f"{_counted(len(mine) - files, 'import', 'imports')} pending at the platform"
    return "waiting", _waiting(view, lane)


def _sending(view: DestinationView, to_send: Sequence[BatchView]) -> str:
    ready = [batch for batch in to_send if batch.state == "ready"]
    now_ms = view.now_ms
    due = [batch for batch in ready if (batch.due_ms or 0) <= now_ms]
    limit_ms = int(view.state.get("wait_until", 0))
    if len(ready) < len(to_send):
        return f"sending: {_counted(len(to_send), 'batch', 'batches')} to go"
    if blocked_ms := view.standing.blocked_ms("upsert"):
        return f"the platform answers, and fails to take batches in; tried again in {span(blocked_ms / 1000)}"
    if due and limit_ms > now_ms:
        return f"waiting for the rate limit, {span(-((now_ms - limit_ms) // 1000))} more"
    if any(batch.is_search for batch in to_send):
        rows = sum(batch.count("rows") for batch in to_send)
        return f"searching {_counted(rows, 'row', 'rows')} for the record that the platform refuses"
    if not due:
        first = min(ready, key=lambda batch: batch.due_ms or 0)
        code = first.fields.get("code", "")
        said = f" was answered {code} (attempt {first.count('attempts')})" if code else " is due"
        return f"batch {first.number}{said}{':' if code else ''} {'again ' if code else ''}{soon(first.due_ms, now_ms)}"
    return f"{_counted(len(due), 'batch', 'batches')} ready to be sent"


def _waiting(view: DestinationView, lane: LaneView) -> str:
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


def _rate(view: DestinationView, lane: LaneView) -> float | None:
    """Rows delivered a second by the batches that ended lately."""
    since_ms = view.now_ms - PACE_MS
    ended = [b for b in view.recent if b.lane == lane.books.lane and b.count("ended_ms") >= since_ms]
    if not (delivered := sum(batch.count("delivered") for batch in ended)):
        return None
    began_ms = max(since_ms, min(batch.count("created_ms") for batch in ended))
    return round(delivered / max(1.0, (view.now_ms - began_ms) / 1000), 1)


def _next(view: DestinationView, lane: LaneView, mine: Sequence[BatchView], state: str) -> str | None:
    """What happens next, and when."""
    if state == STOPPED:
        return f"probe {soon(int(view.state.get('probe_at', 0)), view.now_ms)}"
    words = {"ready": "send", "sending": "answer", "polling": "ask", "fetching_errors": "fetch"}
    events = [(batch.due_ms or 0, words.get(batch.state, batch.state)) for batch in mine]
    if state == PAUSED:
        events = [(at_ms, what) for at_ms, what in events if what in ("ask", "fetch")]
    elif lane.due_ms is not None and lane.left:
        events.append((lane.due_ms, "cut"))
    if not events:
        return None
    if view.standing.open_until is not None:
        return f"ask {soon(view.standing.open_until, view.standing.now)}"
    at_ms, what = min(events)
    return what if what == "answer" else f"{what} {soon(at_ms, view.now_ms)}"


def _last_seen(batch: BatchView) -> str:
    seen = batch.fields.get("job_status")
    return f" ({seen} when last asked)" if seen else ""


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
