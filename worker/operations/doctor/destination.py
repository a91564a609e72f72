"""Checks of one destination: its account, its lanes, batches and failures, and its books.

They send one cheap request to the platform and read a few keys. Only the recount of the books reads every key.
"""

import time
from collections.abc import Iterator
from typing import assert_never

from redis.exceptions import NoPermissionError

from contact_ingest.config.settings import Settings
from contact_ingest.errors import TransportError
from contact_ingest.model.failure_codes import is_own_reason
from contact_ingest.model.http_message import utc
from contact_ingest.model.verdicts import FieldTable, Healthy, Limited, Retry, Stop
from contact_ingest.operations.doctor.findings import Finding, RuntimeProtocol, note, ok, wrong
from contact_ingest.providers.base import CustomFields
from contact_ingest.providers.http_status import is_from_between
from contact_ingest.store import books, inspect, redis_server

#: A batch that has been due for longer than this many leases is taken by nobody.
STUCK_LEASES = 3
#: Statuses below 500 that the platform itself gives in passing trouble.
_MAY_PASS = frozenset({408, 409, 423, 425})
#: A full lane refuses producers. The doctor warns from this share on.
LANE_SHARE = 0.8
#: More lanes than this get one line together where nothing is wrong with them.
MANY_LANES = 50
#: Staged bodies that were never committed are looked for in this many of the newest batch numbers.
LATEST = 2_000
#: Failures that take more than this share of the memory leave too little for waiting records.
FAILURES_SHARE = 0.2
#: Number of the oldest, and of the newest, failures whose size is measured.
SAMPLE = 100


def check_account(runtime: RuntimeProtocol) -> tuple[Finding, FieldTable | None]:
    """One probe: whether the platform answers and accepts the key. Also returns the account's custom fields, None if
    the platform did not tell them."""
    about = f"{runtime.name}: account"
    reply = runtime.exchanger.send(runtime.provider.probe(), None)
    if isinstance(reply, TransportError):
        return _no_reply(about, runtime.name, reply), None
    answer = runtime.provider.read_probe(reply, time.time())
    match answer:
        case Stop():
            refused = reply.status in (401, 403)
            what = f"the API key is refused ({reply.status})" if refused else f"refused ({reply.status})"
            remedy = f"mend destinations.{runtime.name}.api_key" if refused else f"mend destinations.{runtime.name}"
            return wrong(about, f"{what}: {answer.why}", remedy), None
        case Retry() if is_from_between(reply.status) and reply.status not in _MAY_PASS:
            says = f"a server in between answered {reply.status}: the reply is not the platform's own"
            remedy = f"check destinations.{runtime.name}.base_url, and the proxy or firewall on the way"
            return wrong(about, says, remedy), None
        case Retry():
            says = f"the platform does not serve: {answer.code}"
            return wrong(about, says, "try again later; nothing is lost meanwhile"), None
        case Limited():
            return note(about, "the platform limits our rate at the moment"), None
        case Healthy():
            table = _custom_fields(runtime)
            fields = (
                "" if table is None else f", {len(table.by_name)} custom field{'' if len(table.by_name) == 1 else 's'}"
            )
            return ok(about, f"answers in {reply.elapsed_ms} ms{fields}"), table
        case _:
            assert_never(answer)


def _no_reply(about: str, name: str, problem: TransportError) -> Finding:
    if is_own_reason(problem.reason):
        why = f"the platform was not asked, for a reason of our own: {problem.reason}"
        return wrong(about, why, "look for an earlier error in the log, and report it")
    why = f"the platform cannot be reached: {problem.reason}"
    return wrong(about, why, f"check destinations.{name}.base_url, and the way out of this machine")


def _custom_fields(runtime: RuntimeProtocol) -> FieldTable | None:
    """The account's custom fields; None if the platform has none or did not tell them."""
    if not isinstance(runtime.provider, CustomFields):
        return None
    reply = runtime.exchanger.send(runtime.provider.definitions(), None)
    if isinstance(reply, TransportError):
        return None
    table = runtime.provider.read_definitions(reply, round(time.time() * 1000))
    return table if isinstance(table, FieldTable) else None


def check_state(runtime: RuntimeProtocol) -> Iterator[Finding]:
    """Whether the destination or one of its lanes is stopped or paused, and why."""
    state = runtime.state.read()
    about = f"{runtime.name}: state"
    what = state.get("state", "")
    if what:
        why = state.get("why", "") or state.get("code", "") or "no reason was given"
        mend = "mend that, then " if what == "stopped" else ""
        yield wrong(about, f"{what}: {why}", f"{mend}`contact-ingest resume --to {runtime.name}`")
    else:
        yield ok(about, "running")
    for lane, why in runtime.state.paused_lanes().items():
        yield wrong(f"lane {lane}", f"paused: {why}", f"`contact-ingest resume --lane {lane}`")
    for lane, (code, why) in runtime.state.stopped_lanes().items():
        remedy = f"mend that; the lane goes on by itself, or at once by `contact-ingest resume --lane {lane}`"
        yield wrong(f"lane {lane}", f"stopped ({code}): {why}", remedy)


def check_platform(runtime: RuntimeProtocol) -> Finding:
    """Whether the account's circuit breaker is open, because the platform failed five times in a row."""
    about = f"{runtime.name}: platform"
    standing = runtime.breaker.state()
    if standing.open_until is not None:
        silent_s = max(0, standing.now - (standing.began or standing.now)) / 1000
        again_s = standing.blocked_ms("") / 1000
        return wrong(
            about,
            f"has not answered for {silent_s:,.0f} s; asked again in {again_s:.0f} s",
            f"see its status page; nothing is lost, and `contact-ingest resume --to {runtime.name}` asks at once",
        )
    failing = [endpoint for endpoint in standing.failing if standing.blocked_ms(endpoint)]
    if failing:
        says = f"answers, but fails at {', '.join(sorted(failing))}; one request in a while tries again"
        return wrong(about, says, "see its status page, and `contact-ingest batches` for what it answers")
    return ok(about, "not known to fail")


def check_lanes(runtime: RuntimeProtocol, settings: Settings) -> Iterator[Finding]:
    """Whether a lane is nearly full."""
    for lane, held in inspect.waiting_bytes(runtime.store).items():
        if held > LANE_SHARE * settings.max_lane_bytes:
            share = held / settings.max_lane_bytes
            yield wrong(
                f"lane {lane}",
                f"is {share:.0%} full: {held:,} of {settings.max_lane_bytes:,} bytes; a full lane refuses producers",
                "start more workers, mend what stops it, or raise CONTACT_INGEST_MAX_LANE_BYTES",
            )


def check_batches(runtime: RuntimeProtocol, settings: Settings) -> Iterator[Finding]:
    """Whether batches are due for too long, or imports are past their deadline. Batches of a stopped or paused
    destination are not expected to move."""
    about, now_ms = f"{runtime.name}: batches", runtime.clock.now_ms()
    old_ms = now_ms - round(STUCK_LEASES * settings.lease_s * 1000)
    moving = _moving(runtime)
    stuck = inspect.overdue(runtime.store, moving, old_ms)
    if stuck:
        late_s = STUCK_LEASES * settings.lease_s
        yield wrong(
            about,
            f"{stuck} have been due for more than {late_s:g} s (since before {utc(old_ms)})",
            "start workers, or more of them; `contact-ingest batches` lists them",
        )
    grace_ms = round((settings.poll_deadline_s + settings.lease_s * STUCK_LEASES) * 1000)
    late = sum(0 < sent < now_ms - grace_ms for sent in inspect.polled_since_ms(runtime.store)) if moving else 0
    if late:
        yield wrong(
            about,
            f"{late} imports are past the deadline of {settings.poll_deadline_s:g} s and have not been ended",
            "start workers; `contact-ingest batches` lists them",
        )
    if not stuck and not late:
        to_send, followed = inspect.queue_lengths(runtime.store)
        yield ok(about, f"{to_send} to send, {followed} followed")


def check_failures(runtime: RuntimeProtocol) -> Finding:
    """How much memory failed records take, estimated from the newest and the oldest. They stay for weeks, and only the
    memory of Redis limits their number."""
    about, count = f"{runtime.name}: failures", runtime.failures.count()
    try:
        takes = count * runtime.failures.mean_bytes(SAMPLE)
    except NoPermissionError:
        return note(about, f"{count:,}; how much they take cannot be told: the ACL forbids HSTRLEN")
    most = redis_server.read_memory(runtime.store.client).most
    says = f"{count:,}, about {takes:,} bytes"
    if most and takes > FAILURES_SHARE * most:
        return wrong(
            about,
            f"{says}: more than {FAILURES_SHARE:.0%} of the memory Redis may use",
            "`contact-ingest failures` says why; retry them, export them, or lower CONTACT_INGEST_KEEP_FAILURES_S",
        )
    return ok(about, says)


def check_staged(runtime: RuntimeProtocol) -> Iterator[Finding]:
    """Whether there are staged bodies that belong to no batch and do not expire. A body is staged with an expiry, and
    the commit removes the expiry."""
    stray = inspect.stray_bodies(runtime.store, LATEST)
    if stray:
        yield wrong(
            f"{runtime.name}: staged bodies",
            f"{stray} belong to no batch and do not expire",
            "another program may have changed keys under the prefix; look at them, then delete them",
        )


def check_books(runtime: RuntimeProtocol, *, recount: bool) -> Iterator[Finding]:
    """Whether every accepted record is in exactly one place, by the books and, with `recount`, by counting the keys."""
    remedy = "stop producers, run `contact-ingest doctor --books` again; report it with its output if it stays"
    found = books.read(runtime.store)
    said = books.all_disagreements(runtime.store) if recount else {}
    right = []
    for lane in found:
        about = f"books of {lane.lane}"
        if wrongs := said.get(lane.lane):
            yield wrong(about, "; ".join(wrongs), remedy)
        elif not lane.balanced:
            yield wrong(about, f"accepted {lane.counts['accepted']} is not the sum of the rest", remedy)
        else:
            right.append(lane)
    how = ", as recounted" if recount else ""
    if len(right) > MANY_LANES:
        accepted = sum(lane.counts["accepted"] for lane in right)
        yield ok(f"books of {runtime.name}", f"those of {len(right):,} lanes balance over {accepted:,} records{how}")
        return
    for lane in right:
        yield ok(f"books of {lane.lane}", f"balance over {lane.counts['accepted']:,} records{how}")


def _moving(runtime: RuntimeProtocol) -> tuple[str, ...]:
    """The stages whose batches are expected to move: none while the destination is stopped or does not answer, only
    polls while it is paused."""
    state, standing = runtime.state.read().get("state"), runtime.breaker.state()
    if state == "stopped" or standing.open_until is not None:
        return ()
    return ("poll",) if state == "paused" or "upsert" in standing.failing else ("dispatch", "poll")
