"""Checks of the records: lanes that nobody aggregates, custom fields that the account lacks, failures that will be
discarded soon. Some records of each lane are read; their content is never shown."""

from collections import Counter
from collections.abc import Iterator

from contact_ingest.config.settings import Settings
from contact_ingest.errors import FieldsNeeded, Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.http_message import utc
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.operations.doctor.findings import Finding, RuntimeProtocol, note, ok, wrong
from contact_ingest.operations.status import HALTED, lanes, span
from contact_ingest.store import books
from contact_ingest.store.inspect import LaneView, first_waiting, read_destination

#: A lane that has been due for longer than this is aggregated by nobody. The same holds if its records have waited for
#: longer than they should by this much, while no batch of the destination is in flight.
LATE_MS = 60_000
#: Custom fields are looked for in this many of the first waiting records of each lane, and of the newest failures.
SAMPLE = 200
NEWEST = 1_000
#: Failures that are older than this share of their retention are a finding.
OLD_SHARE = 0.9
_CUSTOM = "custom_fields."


def check_late(runtime: RuntimeProtocol) -> Iterator[Finding]:
    """Lanes that are due and that nobody aggregates. Paused and stopped lanes are left to `check_state`."""
    view = read_destination(runtime.store, runtime.breaker.state())
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


def check_fields(runtime: RuntimeProtocol, table: FieldTable | None) -> Iterator[Finding]:
    """Custom fields that records name and the account lacks. `table` holds the account's fields, None if the platform
    did not tell them."""
    about = f"{runtime.name}: custom fields"
    failed = _named_by_failures(runtime)
    if table is not None:
        failed = Counter({name: count for name, count in failed.items() if table.find(name) is None})
    waiting = _named_by_waiting(runtime, table) if table is not None else Counter()
    if failed or waiting:
        counts = [
            *([f"{sum(failed.values())} of the latest failures"] if failed else []),
            *([f"{sum(waiting.values())} of the first records that wait"] if waiting else []),
        ]
        names = ", ".join(name for name, _ in (failed + waiting).most_common(10))
        yield wrong(
            about,
            f"{' and '.join(counts)} name what the account lacks: {names}",
            f"create the fields there, or set destinations.{runtime.name}.unknown_fields to create or drop; then "
            f"`contact-ingest retry --to {runtime.name} --code unknown_field`",
        )
    dropped = sum(lane.counts["dropped"] for lane in books.read(runtime.store))
    if dropped:
        yield note(about, f"{dropped:,} values have been left out, since unknown_fields is drop")


def check_retention(runtime: RuntimeProtocol, settings: Settings) -> Iterator[Finding]:
    """Whether failures are about to be discarded, at the end of their retention."""
    about, now_ms = f"{runtime.name}: failures", runtime.clock.now_ms()
    old = runtime.failures.count(before_ms=now_ms - round(OLD_SHARE * settings.keep_failures_s * 1000))
    total, oldest_ms = runtime.failures.count(), runtime.failures.oldest_ms()
    if not old or oldest_ms is None:
        yield ok(about, f"{total:,} kept")
        return
    left_s = max(0.0, settings.keep_failures_s - (now_ms - oldest_ms) / 1000)
    yield wrong(
        about,
        f"{old:,} of {total:,} are about to be discarded, the first in {span(left_s)}; it failed at {utc(oldest_ms)}",
        f"`contact-ingest retry --to {runtime.name}` or `contact-ingest failures export FILE`, or raise "
        "CONTACT_INGEST_KEEP_FAILURES_S",
    )


def _is_left(lane: LaneView) -> bool:
    return bool(lane.books.counts["waiting"] or lane.books.counts["held"])


def _waits_ms(lane: LaneView, now_ms: int) -> int:
    return 0 if lane.oldest_ms is None else now_ms - lane.oldest_ms


def _named_by_failures(runtime: RuntimeProtocol) -> Counter[str]:
    """How many of the newest failures name each unknown field."""
    named: Counter[str] = Counter()
    for failed in runtime.failures.newest(NEWEST):
        field = failed.reason.partition(":")[0]
        if failed.code == FailureCode.UNKNOWN_FIELD and field.startswith(_CUSTOM):
            named[field.removeprefix(_CUSTOM)] += 1
    return named


def _named_by_waiting(runtime: RuntimeProtocol, table: FieldTable) -> Counter[str]:
    """How many of the first waiting records would be refused for each unknown field."""
    named: Counter[str] = Counter()
    for raw in first_waiting(runtime.store, SAMPLE):
        field = _lacking(runtime, raw, table)
        if field.startswith(_CUSTOM):
            named[field.removeprefix(_CUSTOM)] += 1
    return named


def _lacking(runtime: RuntimeProtocol, raw: bytes, table: FieldTable) -> str:
    """The field for which a waiting record would be refused as unknown; empty if there is none."""
    try:
        runtime.provider.prepare(runtime.field_mapping.apply(raw), table)
    except Refused as refused:
        return refused.field if refused.code == FailureCode.UNKNOWN_FIELD else ""
    except FieldsNeeded:
        return ""  # they will be created
    return ""
