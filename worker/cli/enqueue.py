"""`enqueue FILE`: puts the records of a file or of standard input into a lane, and accounts for every refused one.

A run that stops midway prints the command that continues it.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer
from redis.exceptions import RedisError

from contact_ingest.cli.options import KeyOption, LaneOptionsOption, ListOption, WaitOption, lane_options, open_engine
from contact_ingest.cli.output import EXIT_MIDWAY, EXIT_WRONG, ProgressBar, counted, examples, note, say, show_json
from contact_ingest.config.destinations import none_configured
from contact_ingest.engine import Engine, current_engine
from contact_ingest.errors import IdempotencyKeyReused, IntakeError
from contact_ingest.model.arguments import check_key, check_wait_s
from contact_ingest.model.cell import DATE_ORDERS
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.pipeline.enqueue import EnqueueBuffer, Receipt, WaitBudget
from contact_ingest.sources.cells import CellOptions
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.files import Source, open_source
from contact_ingest.sources.private_file import open_private
from contact_ingest.sources.rows import SourceError, open_rejects
from contact_ingest.store.lanes import EnqueueCall, EnqueueReply, append
from contact_ingest.store.scripts import Store
from contact_ingest.sync.destination_fields import DestinationFields
from contact_ingest.sync.loader import LoadTarget, SourceLoader, SourcePosition

Ending = Literal["done", "stopped", "interrupted"]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="The field of a column or #5; repeatable. COLUMN= omits it."),
]
DatesOption = Annotated[
    str | None, typer.Option("--dates", metavar="ORDER", help="dmy or mdy: how CSV has dates such as 03/04/2026.")
]
ClearOption = Annotated[
    str | None, typer.Option("--clear", metavar="TEXT", help="A CSV cell of this text empties its field.")
]


@dataclass(frozen=True, slots=True)
class EnqueueCommand:
    """The command as it was given, so that the command that continues it can be printed.

    `options` are the words of the options that stay the same, such as `("--to", "newsletter")`.
    """

    file: str
    options: tuple[str, ...]
    key: str
    rejects: str | None
    wait_s: float

    @property
    def json(self) -> bool:
        return "--json" in self.options

    def continued_from(self, position: SourcePosition) -> str:
        words = ["contact-ingest", "enqueue", self.file, *self.options, "--key", self.key]
        words += ["--rejects", self.rejects] if self.rejects else []
        words += ["--from-line", str(position)] if position > SourcePosition() else []
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
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSON or JSON lines, also gzipped; - reads stdin.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="The destination, if there are several.")
    ] = None,
    lists: ListOption = None,
    options_given: LaneOptionsOption = None,
    maps: MapOption = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="US", help="Country of telephone numbers without +.")
    ] = None,
    rejects: Annotated[
        str | None, typer.Option("--rejects", metavar="FILE", help="Write refused records to this file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, enqueue nothing.")] = False,
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", metavar="CHAR", help="Separates the columns; recognised if not given.")
    ] = None,
    format_name: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="csv, json or jsonl.")] = None,
    dates: DatesOption = None,
    clear: ClearOption = None,
    key: KeyOption = None,
    from_line: Annotated[
        str, typer.Option("--from-line", metavar="N", help="Start at this line, as a stopped run has printed it.")
    ] = "0",
    wait: WaitOption = 0,
    json: Annotated[bool, typer.Option("--json", help="A receipt as JSON; cancel --receipt takes it.")] = False,
) -> None:
    """Put the records of a file into the lane of a destination.

    Exits with 0 if all were accepted, 1 if any was refused, 4 if it stopped midway.
    """
    start = SourcePosition.parse(from_line)
    check_key(key, "--key")
    check_wait_s(wait, "--wait")
    engine = _engine_without_ping() if dry_run else open_engine(writes=True)
    lane = engine.producer.lane(to, **lane_options(options_given or (), lists or ()))
    options = [("--to", to), ("--region", region), ("--delimiter", delimiter), ("--format", format_name)]
    options += [("--dates", dates), ("--clear", clear)]
    options += [("--list", value) for value in lists or ()]
    options += [("--lane-option", value) for value in options_given or ()]
    options += [("--map", value) for value in maps or ()]
    words = [word for name, value in options if value is not None for word in (name, value)]
    words += ["--json"] if json else []
    words += ["--wait", f"{wait:g}"] if wait else []
    command = EnqueueCommand(file, tuple(words), key or _new_key(), rejects, wait)
    mapping = parse_mapping(maps or ())
    fields = _destination_fields(engine, lane)
    reading = {"region": region, "format_name": format_name, "delimiter": delimiter}
    with (
        open_source(file, mapping=mapping, cells=_cell_options(fields, clear, dates), **reading) as source,
        _open_rejects(rejects, file, appending=start > SourcePosition()) as out,
    ):
        loader = SourceLoader(source, out, start)
        if dry_run:
            _check(engine, lane, source, loader, fields, json=json)
        else:
            _load(engine, lane, source, loader, command)


def _new_key() -> str:
    return uuid4().hex[:16]


def _engine_without_ping() -> Engine:
    """The engine for a dry run, which asks Redis for the custom fields only, and works without Redis as well."""
    engine = current_engine()
    if not engine.destinations:
        raise none_configured()
    return engine


def _destination_fields(engine: Engine, lane: Lane) -> DestinationFields:
    """What the destination takes, with the account's fields as workers have fetched them, if Redis has them."""
    runtime = engine.runtime(lane.destination)
    try:
        table, now_ms = runtime.custom_fields.cached(), runtime.clock.now_ms()
    except RedisError:
        table, now_ms = FieldTable(), 0
    return DestinationFields(runtime.provider, runtime.field_mapping, table, now_ms)


def _cell_options(fields: DestinationFields, clear: str | None, dates: str | None) -> CellOptions:
    order = next((order for order in DATE_ORDERS if order == dates), None)
    if dates is not None and order is None:
        raise SourceError(f"--dates {dates}", "is neither dmy (31/12/2026) nor mdy (12/31/2026)")
    if clear is None:
        return CellOptions(fields.problem, dates=order)
    if not clear.strip():
        raise SourceError("--clear", "give a text, such as --clear NULL: an empty cell leaves its field as it is")
    return CellOptions(fields.problem, clear.strip(), fields.emptied(), order)


def _open_rejects(path: str | None, source: str, *, appending: bool) -> Any:
    """The rejects file. A run that continues another one appends to the file of that run."""
    if path is None:
        return nullcontext()
    if appending and Path(path).is_file() and not (source != "-" and Path(path).samefile(source)):
        try:
            return open_private(path, appending=True)
        except OSError as problem:
            raise SourceError(f"--rejects {path}", problem.strerror or "cannot be written") from None
    return open_rejects(path, source=source)


def _load(engine: Engine, lane: Lane, source: Source, loader: SourceLoader, command: EnqueueCommand) -> None:
    buffer = EnqueueBuffer(
        engine.producer.enqueue_options(lane, key=command.key, on_refused=loader.on_refused),
        WaitBudget(command.wait_s),
    )
    store, replicas = engine.runtime(lane.destination).store, engine.settings.store_ack_replicas
    ending: Ending = "stopped"
    problem = ""
    try:
        with _progress_bar(source) as bar:
            send = partial(_append, store, replicas)
            loader.load(LoadTarget(buffer, command.key, send, _progress(bar, source, loader, buffer)))
        ending = "done"
    except KeyboardInterrupt:
        ending, problem = "interrupted", "interrupted"
    except IdempotencyKeyReused as stopped:
        problem = str(IdempotencyKeyReused("--key", stopped.receipt, stopped.position))
        command = replace(command, key=_new_key())
    except IntakeError as stopped:
        problem = str(stopped)
    except SourceError as broken:
        if not loader.records_read:
            raise
        problem = str(broken)
    rest = "" if ending == "done" else command.continued_from(loader.resume_from)
    _show_receipt(buffer.receipt, source, loader, rest=rest, json=command.json)
    if ending != "done":
        note(f"error: enqueue: {problem}; stopped before line {_line(loader.resume_from)}. Continue with:")
        note(rest)
        raise typer.Exit(EXIT_MIDWAY) if ending == "stopped" else KeyboardInterrupt
    if loader.refused_count:
        raise typer.Exit(EXIT_WRONG)


def _append(store: Store, replicas: int, call: EnqueueCall) -> EnqueueReply:
    return append(store, call, replicas)


def _line(position: SourcePosition) -> str:
    return f"{position.line}, record {position.records + 1} of it" if position.records else str(max(1, position.line))


def _show_receipt(receipt: Receipt, source: Source, loader: SourceLoader, *, rest: str, json: bool) -> None:
    if json:
        show_json(
            {
                "lane": receipt.lane,
                "accepted": receipt.accepted,
                "ranges": receipt.ranges,
                "epoch": receipt.epoch,
                "repeated_calls": receipt.repeated,
                **_source_summary(source, loader),
                "stopped_before": str(loader.resume_from) if rest else None,
                "go_on": rest or None,
            }
        )
        return
    say(f"{counted(receipt.accepted, 'record')} accepted into lane {receipt.lane}")
    if receipt.repeated:
        say(f"(some had been counted before, under the same key: {counted(receipt.repeated, 'call')})")
    _show_source_summary(source, loader)


def _check(
    engine: Engine, lane: Lane, source: Source, loader: SourceLoader, fields: DestinationFields, *, json: bool
) -> None:
    with _progress_bar(source) as bar:
        loader.check(fields, engine.settings.max_record_bytes, _progress(bar, source, loader))
    if json:
        found = {"dry_run": True, "lane": lane.name, "would_accept": loader.would_accept}
        found |= {"would_fail": loader.would_fail, "first_failing": loader.first_failing}
        found |= {"needs_fields": loader.needs_fields, "dropped_fields": loader.dropped_fields}
        show_json({**found, **_source_summary(source, loader)})
    else:
        _show_check(lane, source, loader)
    if loader.refused_count or loader.would_fail:
        raise typer.Exit(EXIT_WRONG)


def _show_check(lane: Lane, source: Source, loader: SourceLoader) -> None:
    say(f"{counted(loader.would_accept, 'record')} would be accepted into lane {lane.name}; nothing was enqueued")
    if loader.would_fail:
        say(f"{loader.would_fail} of them would fail at aggregation:")
        _show_rows(loader.first_failing, loader.would_fail)
    if loader.needs_fields:
        say(f"{loader.needs_fields} of them need the account's field definitions, which a worker fetches")
    if loader.dropped_fields:
        say(f"{counted(loader.dropped_fields, 'custom field')} that the account lacks would be left out")
    _show_source_summary(source, loader)


def _source_summary(source: Source, loader: SourceLoader) -> dict[str, Any]:
    return {
        "refused": loader.refused_count,
        "first_refused": loader.first_refused,
        "ignored_columns": list(source.ignored_columns),
        "unseen_columns": sorted(source.unseen_columns),
        "notices": list(source.notices),
    }


def _show_source_summary(source: Source, loader: SourceLoader) -> None:
    if source.ignored_columns:
        say(f"ignored columns: {', '.join(source.ignored_columns)}")
    if source.unseen_columns:
        say(f"mapped, but in no record: {', '.join(sorted(source.unseen_columns))}")
    for notice in source.notices:
        say(notice)
    if loader.refused_count:
        say(f"{counted(loader.refused_count, 'record')} refused:")
        _show_rows(loader.first_refused, loader.refused_count)


def _show_rows(listed: Sequence[Mapping[str, object]], count: int) -> None:
    for row in listed:
        say(f"  line {row['line']}: {row['field']}: {row['rule']}")
    if count > len(listed):
        say(f"  and {count - len(listed)} more; --rejects FILE keeps them all")


def _progress_bar(source: Source) -> ProgressBar:
    return ProgressBar("enqueue", source.size_bytes)


def _progress(
    bar: ProgressBar, source: Source, loader: SourceLoader, buffer: EnqueueBuffer | None = None
) -> Callable[[], None]:
    """A function that draws the progress, or, without a terminal, says once that the load waits for room."""
    last_said = ""

    def show() -> None:
        nonlocal last_said
        waits_for = buffer.waits_for if buffer is not None else ""
        waiting = f"; waiting for room: {waits_for}" if waits_for else ""
        bar.show(source.position_bytes, f"{loader.records_read:,} records read{waiting}")
        if waits_for and not last_said and not bar.is_drawn:
            note(f"waiting for room: {waits_for}")
        last_said = waits_for

    return show
