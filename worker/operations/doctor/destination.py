"""Whether a destination's account answers, and whether its lanes and batches move and add up.

Looks only, with one cheap request to the platform and a few keys read; a recount of every key is asked for apart.
"""

import time
from collections.abc import Iterator

from redis.exceptions import NoPermissionError

from contact_ingest.config.settings import Settings
from contact_ingest.errors import TransportError
from contact_ingest.model.http_message import utc
from contact_ingest.model.verdicts import FieldTable, Limited, Retry, Stop
from contact_ingest.operations.doctor.findings import Destination, Finding, note, ok, wrong
from contact_ingest.store import books, redis_server

#: A batch due for longer than so many leases is one that nobody takes.
STUCK_LEASES = 3
#: Producers are refused when a lane is full; this much of it is worth a word before.
LANE_SHARE = 0.8
#: Of the batches numbered last, so many are looked at for bodies that were staged and never committed.
LATEST = 2_000
#: Failures that take more of the memory than this leave too little to what waits; so many from each end are measured.
FAILURES_SHARE = 0.2
SAMPLE = 100
_PARTS = ("body", "offsets", "records", "digests")


def check_account(place: Destination) -> tuple[Finding, FieldTable | None]:
    """One probe: whether the platform answers, and accepts the key; and the custom fields it has."""
    about = f"{place.name}: account"
    reply = place.exchanger.send(place.provider.probe(), None)
    if isinstance(reply, TransportError):
        why = f"the platform cannot be reached: {reply.reason}"
        return wrong(about, why, f"check destinations.{place.name}.base_url, and the way out of this machine"), None
    answer = place.provider.read_definitions(reply, round(time.time() * 1000))
    if isinstance(answer, Stop):
        refused = reply.status in (401, 403)
        what = f"the API key is refused ({reply.status})" if refused else f"refused ({reply.status})"
        remedy = f"mend destinations.{place.name}.api_key" if refused else f"mend destinations.{place.name}"
        return wrong(about, f"{what}: {answer.why}", remedy), None
    if isinstance(answer, Retry):
        return wrong(
            about, f"the platform does not serve: {answer.code}", "try again later; nothing is lost meanwhile"
        ), None
    if isinstance(answer, Limited):
        return note(about, "the platform limits our rate at the moment"), None
    return ok(about, f"answers in {reply.elapsed_ms} ms, {len(answer.by_name)} fields"), answer


def check_state(place: Destination) -> Iterator[Finding]:
    """Stops and pauses, with their reasons."""
    state = place.schedule.state()
    about = f"{place.name}: state"
    what = state.get("state", "")
    if what:
        why = state.get("why", "") or state.get("code", "") or "no reason was given"
        mend = "mend that, then " if what == "stopped" else ""
        yield wrong(about, f"{what}: {why}", f"{mend}`contact-ingest resume --to {place.name}`")
    else:
        yield ok(about, "running")
    for lane in place.schedule.lanes():
        paused = place.store.client.hget(place.store.keys(f"lane:{lane}"), "paused")
        if paused is not None:
            yield wrong(f"lane {lane}", f"paused: {paused.decode()}", f"`contact-ingest resume --lane {lane}`")


def check_platform(place: Destination) -> Finding:
    """Whether the account's breaker is open: the platform was seen to fail everybody."""
    about = f"{place.name}: platform"
    standing = place.rate_limiter.standing()
    if standing.open_until is not None:
        silent_s = max(0, standing.now - (standing.began or standing.now)) / 1000
        again_s = standing.blocked_ms("") / 1000
        return wrong(
            about,
            f"has not answered for {silent_s:,.0f} s; asked again in {again_s:.0f} s",
            f"see its status page; nothing is lost, and `contact-ingest resume --to {place.name}` asks at once",
        )
    failing = [endpoint for endpoint in standing.failing if standing.blocked_ms(endpoint)]
    if failing:
        says = f"answers, but fails at {', '.join(sorted(failing))}; one request in a while tries again"
        return wrong(about, says, "see its status page, and `contact-ingest batches` for what it answers")
    return ok(about, "not known to fail")


def check_lanes(place: Destination, settings: Settings) -> Iterator[Finding]:
    client, keys = place.store.client, place.store.keys
    for lane in place.schedule.lanes():
        held = int(client.hget(keys(f"lane:{lane}"), "bytes") or 0)
        if held > LANE_SHARE * settings.max_lane_bytes:
            share = held / settings.max_lane_bytes
            yield wrong(
                f"lane {lane}",
                f"is {share:.0%} full: {held:,} of {settings.max_lane_bytes:,} bytes; a full lane refuses producers",
                "start more workers, mend what stops it, or raise CONTACT_INGEST_MAX_LANE_BYTES",
            )


def check_batches(place: Destination, settings: Settings) -> Iterator[Finding]:
    """Batches that should have moved long ago, unless the destination is held."""
    client, keys = place.store.client, place.store.keys
    about, now_ms = f"{place.name}: batches", place.schedule.now_ms()
    old_ms = now_ms - round(STUCK_LEASES * settings.lease_s * 1000)
    moving = _moving(place)
    stuck = sum(int(client.zcount(keys(zset), "-inf", old_ms)) for zset in moving)
    if stuck:
        late_s = STUCK_LEASES * settings.lease_s
        yield wrong(
            about,
            f"{stuck} have been due for more than {late_s:g} s (since before {utc(old_ms)})",
            "start workers, or more of them; `contact-ingest batches` lists them",
        )
    grace_ms = round((settings.poll_deadline_s + settings.lease_s * STUCK_LEASES) * 1000)
    late = sum(0 < sent < now_ms - grace_ms for sent in _sent_ms(place)) if moving else 0
    if late:
        yield wrong(
            about,
            f"{late} imports are past the deadline of {settings.poll_deadline_s:g} s and have not been ended",
            "start workers; `contact-ingest batches` lists them",
        )
    if not stuck and not late:
        yield ok(about, f"{client.zcard(keys('due'))} to send, {client.zcard(keys('polls'))} followed")


def check_failures(place: Destination) -> Finding:
    """Failed records stay for weeks, and nothing but the memory of Redis bounds them: what they take is guessed from
    the newest and the oldest."""
    client, keys = place.store.client, place.store.keys
    about, count = f"{place.name}: failures", int(client.zcard(keys("failures:by_time")))
    ids = [
        *client.zrange(keys("failures:by_time"), 0, SAMPLE - 1),
        *client.zrange(keys("failures:by_time"), -SAMPLE, -1),
    ]
    pipe = client.pipeline(transaction=False)
    for record in ids:
        pipe.hstrlen(keys("failures"), record)
    try:
        lengths = pipe.execute()
    except NoPermissionError:
        return note(about, f"{count:,}; how much they take cannot be told: the ACL forbids HSTRLEN")
    takes, most = count * sum(lengths) // max(1, len(lengths)), redis_server.read_memory(client).most
    says = f"{count:,}, about {takes:,} bytes"
    if most and takes > FAILURES_SHARE * most:
        return wrong(
            about,
            f"{says}: more than {FAILURES_SHARE:.0%} of the memory Redis may use",
            "`contact-ingest failures` says why; retry them, export them, or lower CONTACT_INGEST_KEEP_FAILURES_S",
        )
    return ok(about, says)


def check_staged(place: Destination) -> Iterator[Finding]:
    """Bodies are staged with an expiry, which the commit takes away. Without both they would stay for ever."""
    client, keys = place.store.client, place.store.keys
    last = int(client.get(keys("batch_seq")) or 0)
    stray = 0
    for start in range(max(1, last - LATEST + 1), last + 1, 200):
        numbers = range(start, min(start + 200, last + 1))
        pipe = client.pipeline(transaction=True)
        for number in numbers:
            pipe.exists(keys(f"batch:{number}"))
            for part in _PARTS:
                pipe.ttl(keys(f"batch:{number}:{part}"))
        answers = pipe.execute()
        step = 1 + len(_PARTS)
        found = (answers[at : at + step] for at in range(0, len(answers), step))
        stray += sum(not exists and -1 in ttls for exists, *ttls in found)
    if stray:
        yield wrong(
            f"{place.name}: staged bodies",
            f"{stray} belong to no batch and do not expire",
            "another program may have changed keys under the prefix; look at them, then delete them",
        )


def check_books(place: Destination, *, recount: bool) -> Iterator[Finding]:
    """Promise 1: every record is in one place. `recount` reads every key, and takes its time."""
    remedy = "stop producers, run `contact-ingest doctor --books` again; report it with its output if it stays"
    for lane in books.read(place.store):
        about = f"books of {lane.lane}"
        said = books.disagreements(place.store, lane.lane) if recount else []
        if said:
            yield wrong(about, "; ".join(said), remedy)
        elif not lane.balanced:
            yield wrong(about, f"accepted {lane.counts['accepted']} is not the sum of the rest", remedy)
        else:
            yield ok(about, f"balance over {lane.counts['accepted']:,} records{', as recounted' if recount else ''}")


def _moving(place: Destination) -> tuple[str, ...]:
    """The queues whose batches should not stay: none while the destination is stopped or nobody answers."""
    state, standing = place.schedule.state().get("state"), place.rate_limiter.standing()
    if state == "stopped" or standing.open_until is not None:
        return ()
    return ("due:poll",) if state == "paused" or "upsert" in standing.failing else ("due:dispatch", "due:poll")


def _sent_ms(place: Destination) -> Iterator[int]:
    client, keys = place.store.client, place.store.keys
    pipe = client.pipeline(transaction=False)
    for number in (*client.zrange(keys("due:poll"), 0, -1), *client.zrange(keys("due:poll:low"), 0, -1)):
        pipe.hmget(keys(f"batch:{number.decode()}"), "state", "sent_ms")
    for state, sent_ms in pipe.execute():
        if state == b"polling":
            yield int(sent_ms or 0)
