"""`enqueue FILE`: the records of a file or of standard input into a lane, with every reject accounted for.

Stopped midway, it says from where to go on and prints the command that does.
"""

import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer
from redis.exceptions import RedisError

from contact_ingest.cli.options import opened
from contact_ingest.cli.output import EXIT_MIDWAY, EXIT_WRONG, Bar, counted, examples, note, say, show_json
from contact_ingest.config.destinations import none_configured
from contact_ingest.engine import Engine, current_engine
from contact_ingest.errors import IntakeError
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.enqueue import EnqueueBuffer, Receipt, WaitBudget
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.files import Source, open_source
from contact_ingest.sources.rows import SourceError, open_rejects
from contact_ingest.store.lanes import append
from contact_ingest.sync.loader import Load, Place

Ending = Literal["done", "stopped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for, and how to ask for the rest of it."""

    file: str
    reading: tuple[str, ...]
    key: str
    rejects: str | None
    wait_s: float

    def rest(self, place: Place) -> str:
        words = ["contact-ingest", "enqueue", self.file, *self.reading, "--key", self.key]
        words += ["--rejects", self.rejects] if self.rejects else []
        words += ["--from-line", str(place)] if place > Place() else []
        return shlex.join(words)


def register(app: typer.Typer) -> None:
    app.command(
        "enqueue",
        epilog=examples(
            "enqueue people.csv --to newsletter --rejects rejects.jsonl",
            "enqueue crm.csv.gz --map 'E-mail=email' --map 'Plan=custom_fields.plan' --dry-run",
            "enqueue - --format jsonl < people.jsonl",
        ),
    )(enqueue)


def enqueue(
    file: Annotated[str, typer.Argument(help="CSV, JSON or JSON lines, also gzipped; - reads stdin.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="The destination, if there are several.")
    ] = None,
    lists: Annotated[list[str] | None, typer.Option("--list", metavar="UUID", help="A list to join.")] = None,
    maps: Annotated[list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="A column's field.")] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="US", help="Of telephone numbers without +.")
    ] = None,
    rejects: Annotated[str | None, typer.Option("--rejects", metavar="FILE", help="Refused records go here.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, enqueue nothing.")] = False,
    delimiter: Annotated[str | None, typer.Option("--delimiter", metavar="CHAR", help="Of the columns.")] = None,
    format_name: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="csv, json or jsonl.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same again within a day is not counted twice.")] = None,
    from_line: Annotated[str, typer.Option("--from-line", metavar="N", help="Go on from this line of the file.")] = "0",
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait for room so long in all, then stop.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="A receipt as JSON; cancel --receipt takes it.")] = False,
) -> None:
    """Put the records of a file into the lane of a destination.

    Exits with 0 if all were accepted, 1 if any was refused, 4 if it stopped midway.
    """
    start = Place.parse(from_line)
    engine = _unopened() if dry_run else opened(writes=True)
    lane = engine.lane(to, list_ids=lists or ())
    options = {"--to": to, "--region": region, "--delimiter": delimiter, "--format": format_name}
    reading = [word for name, value in options.items() if value is not None for word in (name, value)]
    reading += [
        word for name, values in (("--list", lists), ("--map", maps)) for v in values or () for word in (name, v)
    ]
    reading += ["--json"] if json else []
    reading += ["--wait", f"{wait:g}"] if wait else []
    order = Order(file, tuple(reading), key or uuid4().hex[:16], rejects, wait)
    mapping = parse_mapping(maps or ())
    with (
        open_source(file, mapping=mapping, region=region, format_name=format_name, delimiter=delimiter) as source,
        _rejects(rejects, file, go_on=start > Place()) as out,
    ):
        load = Load(source, out, start)
        if dry_run:
            _check(engine, lane, source, load, json=json)
        else:
            _load(engine, lane, source, load, order)


def _unopened() -> Engine:
    """A dry run asks Redis for the field definitions only, and does without."""
    engine = current_engine()
    if not engine.destinations:
        raise none_configured()
    return engine


def _rejects(path: str | None, source: str, *, go_on: bool) -> Any:
    """The rejects file; a run that goes on adds to what the one before has written."""
    if path is None:
        return nullcontext()
    if go_on and Path(path).is_file() and not (source != "-" and Path(path).samefile(source)):
        try:
            return Path(path).open("ab")
        except OSError as problem:
            raise SourceError(f"--rejects {path}", problem.strerror or "cannot be written") from None
    return open_rejects(path, source=source)


def _load(engine: Engine, lane: Lane, source: Source, load: Load, order: Order) -> None:
    filling = EnqueueBuffer(engine.enqueue_options(lane, on_refused=load.refuse), WaitBudget(order.wait_s))
    store, replicas = engine.runtime(lane.destination).store, engine.settings.store_ack_replicas
    ending: Ending = "stopped"
    problem = ""
    try:
        with _bar(source) as bar:
            show = _shower(bar, source, load, filling)
            load.run(filling, order.key, lambda call: append(store, call, replicas), show)
        ending = "done"
    except KeyboardInterrupt:
        ending, problem = "interrupted", "interrupted"
    except IntakeError as stopped:
        problem = str(stopped)
    except SourceError as broken:
        if not load.read:
            raise
        problem = str(broken)
    rest = "" if ending == "done" else order.rest(load.go_on)
    _report(filling.receipt, source, load, rest=rest, json="--json" in order.reading)
    if ending != "done":
        note(f"error: enqueue: {problem}; stopped before line {_line(load.go_on)}. Go on with:")
        note(rest)
        raise typer.Exit(EXIT_MIDWAY) if ending == "stopped" else KeyboardInterrupt
    if load.refused:
        raise typer.Exit(EXIT_WRONG)


def _line(place: Place) -> str:
    return f"{place.line}, record {place.records + 1} of it" if place.records else str(max(1, place.line))


def _report(receipt: Receipt, source: Source, load: Load, *, rest: str, json: bool) -> None:
    if json:
        show_json(
            {
                "lane": receipt.lane,
                "accepted": receipt.accepted,
                "ranges": receipt.ranges,
                "repeated_calls": receipt.repeated,
                **_findings(source, load),
                "stopped_before": str(load.go_on) if rest else None,
                "go_on": rest or None,
            }
        )
        return
    say(f"{counted(receipt.accepted, 'record')} accepted into lane {receipt.lane}")
    if receipt.repeated:
        say(f"(some had been counted before, under the same key: {counted(receipt.repeated, 'call')})")
    _say_findings(source, load)


def _check(engine: Engine, lane: Lane, source: Source, load: Load, *, json: bool) -> None:
    runtime = engine.runtime(lane.destination)
    try:
        table = runtime.custom_fields.cached()
    except RedisError:
        table = FieldTable()
    with _bar(source) as bar:
        load.check(runtime.provider, table, engine.settings.max_record_bytes, _shower(bar, source, load))
    if json:
        found = {"dry_run": True, "lane": lane.name, "would_accept": load.checked, "needs_fields": load.unready}
        show_json({**found, "dropped_fields": load.dropped, **_findings(source, load)})
    else:
        say(f"{counted(load.checked, 'record')} would be accepted into lane {lane.name}; nothing was enqueued")
        if load.unready:
            say(f"{load.unready} more need the account's field definitions, which a worker fetches")
        if load.dropped:
            say(f"{counted(load.dropped, 'custom field')} that the account lacks would be left out")
        _say_findings(source, load)
    if load.refused:
        raise typer.Exit(EXIT_WRONG)


def _findings(source: Source, load: Load) -> dict[str, Any]:
    return {
        "refused": load.refused,
        "first_refused": load.first_refused,
        "ignored_columns": list(source.ignored_columns),
        "unseen_columns": sorted(source.unseen_columns),
    }


def _say_findings(source: Source, load: Load) -> None:
    if source.ignored_columns:
        say(f"ignored columns: {', '.join(source.ignored_columns)}")
    if source.unseen_columns:
        say(f"mapped, but in no record: {', '.join(sorted(source.unseen_columns))}")
    if load.refused:
        say(f"{counted(load.refused, 'record')} refused:")
        for refused in load.first_refused:
            say(f"  line {refused['line']}: {refused['field']}: {refused['rule']}")
        if load.refused > len(load.first_refused):
            say(f"  and {load.refused - len(load.first_refused)} more; --rejects FILE keeps them all")


def _bar(source: Source) -> Bar:
    return Bar("enqueue", source.size_bytes)


def _shower(bar: Bar, source: Source, load: Load, filling: EnqueueBuffer | None = None) -> Callable[[], None]:
    said = ""

    def show() -> None:
        nonlocal said
        waits_for = filling.waits_for if filling is not None else ""
        bar.at(source.position_bytes, f"{load.read:,} records read{waits_for and f'; waiting for room: {waits_for}'}")
        if waits_for and not said and not bar.is_drawn:
            note(f"waiting for room: {waits_for}")
        said = waits_for

    return show
