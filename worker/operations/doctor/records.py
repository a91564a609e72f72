"""Whether records get on: lanes that should have been cut, fields that the account lacks, failures that nobody looks
after. Reads some records of each lane and never shows what is in them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from contact_ingest.config.settings import Settings
from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.http_message import utc
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.operations.doctor.findings import Destination, Finding, note, ok, wrong
from contact_ingest.operations.status import HALTED, lanes, span
from contact_ingest.store import books
from contact_ingest.store.inspect import LaneView, read_destination

#: A lane that has been due for so long is one that nobody cuts; so is one whose records wait so much longer than they
#: should while nothing of the destination is in flight.
LATE_MS = 60_000
#: Records and failures that are read to see whether the account has their fields: of each lane the first that wait, and
#: of all failures the newest.
SAMPLE = 200
NEWEST = 1_000
PAGE = 50
#: Of the time for which failures are kept, so much has passed: somebody should know.
OLD_SHARE = 0.9
_CUSTOM = "custom_fields."


def check_late(place: Destination) -> Iterator[Finding]:
    """Lanes that are due and not cut. Those that are paused or stopped are spoken of elsewhere."""
    view = read_destination(place.store, place.rate_limiter.standing())
    for status in lanes(view, attended=True):
        lane = status.view
        due_for_ms = 0 if lane.due_ms is None else view.now_ms - lane.due_ms
        if status.state in HALTED or not _is_left(lane):
            continue
        if due_for_ms > LATE_MS:
            yield wrong(
                f"lane {lane.books.lane}",
                f"has been due for {span(due_for_ms / 1000)}, and nobody cuts it into bodies",
                "see what the workers' log says of contacts.aggregate; start workers, or restart those that hang",
            )
        elif not view.open and _waits_ms(lane, view.now_ms) > lane.max_wait_ms + LATE_MS:
            yield wrong(
                f"lane {lane.books.lane}",
                f"its oldest record has waited for {span(_waits_ms(lane, view.now_ms) / 1000)}, and nothing is in "
                f"flight: {status.why}",
                "see what the workers' log says, and whether the account answers",
            )


def check_fields(place: Destination, table: FieldTable | None) -> Iterator[Finding]:
    """Custom fields that records name and the account lacks: `table` is what it has now, None if it did not say."""
    about = f"{place.name}: custom fields"
    failed = _named_by_failures(place)
    if table is not None:
        failed = Counter({name: count for name, count in failed.items() if name.lower() not in table.by_name})
    waiting = _named_by_waiting(place, table) if table is not None else Counter()
    if failed or waiting:
        engine = [
            *([f"{sum(failed.values())} of the latest failures"] if failed else []),
            *([f"{sum(waiting.values())} of the first records that wait"] if waiting else []),
        ]
        names = ", ".join(name for name, _ in (failed + waiting).most_common(10))
        yield wrong(
            about,
            f"{' and '.join(engine)} name what the account lacks: {names}",
            f"create the fields there, or set destinations.{place.name}.unknown_fields to create or drop; then "
            f"`contact-ingest retry --to {place.name} --code unknown_field`",
        )
    dropped = sum(lane.counts["dropped"] for lane in books.read(place.store))
    if dropped:
        yield note(about, f"{dropped:,} values have been left out, since unknown_fields is drop")


def check_retention(place: Destination, settings: Settings) -> Iterator[Finding]:
    """Failures are discarded after a while, and nobody may have noticed them."""
    client, keys = place.store.client, place.store.keys
    about, now_ms = f"{place.name}: failures", place.schedule.now_ms()
    old_ms = now_ms - round(OLD_SHARE * settings.keep_failures_s * 1000)
    old, total = (
        int(client.zcount(keys("failures:by_time"), "-inf", old_ms)),
        int(client.zcard(keys("failures:by_time"))),
    )
    if not old:
        yield ok(about, f"{total:,} kept")
        return
    oldest_ms = int(client.zrange(keys("failures:by_time"), 0, 0, withscores=True)[0][1])
    left_s = max(0.0, settings.keep_failures_s - (now_ms - oldest_ms) / 1000)
    yield wrong(
        about,
        f"{old:,} of {total:,} are about to be discarded, the first in {span(left_s)}; it failed at {utc(oldest_ms)}",
        f"`contact-ingest retry --to {place.name}` or `contact-ingest failures export FILE`, or raise "
        "CONTACT_INGEST_KEEP_FAILURES_S",
    )


def _is_left(lane: LaneView) -> bool:
    return bool(lane.books.counts["waiting"] or lane.books.counts["held"])


def _waits_ms(lane: LaneView, now_ms: int) -> int:
    return 0 if lane.oldest_ms is None else now_ms - lane.oldest_ms


def _named_by_failures(place: Destination) -> Counter[str]:
    """How often the newest failures name which field."""
    client, keys = place.store.client, place.store.keys
    ids = client.zrevrange(keys("failures:by_time"), 0, NEWEST - 1)
    named: Counter[str] = Counter()
    for start in range(0, len(ids), PAGE):
        for blob in client.hmget(keys("failures"), ids[start : start + PAGE]):
            about: Mapping[str, Any] = orjson.loads(blob.partition(b"\n")[0]) if blob else {}
            field = str(about.get("reason", "")).partition(":")[0]
            if about.get("code") == "unknown_field" and field.startswith(_CUSTOM):
                named[field.removeprefix(_CUSTOM)] += 1
    return named


def _named_by_waiting(place: Destination, table: FieldTable) -> Counter[str]:
    """How often the first waiting records would be refused for which field."""
    client, keys = place.store.client, place.store.keys
    named: Counter[str] = Counter()
    for lane in place.schedule.lanes():
        for start in range(0, SAMPLE, PAGE):
            for raw in client.lrange(keys(f"waiting:{lane}"), start, start + PAGE - 1):
                field = _lacking(place, raw, table) if raw else ""
                if field.startswith(_CUSTOM):
                    named[field.removeprefix(_CUSTOM)] += 1
    return named


def _lacking(place: Destination, raw: bytes, table: FieldTable) -> str:
    try:
        place.provider.prepare(place.field_mapping.apply(raw), table)
    except Refused as refused:
        return refused.field if refused.code == "unknown_field" else ""
    except FieldsNeeded:
        return ""  # they will be created
    return ""
