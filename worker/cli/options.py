"""The options that several commands share, and the destinations, lanes, moments and failures that they select.

An unknown name raises `SettingError`, which lists the known names.
"""

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer

from contact_ingest.config.destinations import none_configured
from contact_ingest.engine import DestinationRuntime, Engine, current_engine
from contact_ingest.errors import SettingError
from contact_ingest.model.lane import LaneName
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.store.lanes import lane_names
from contact_ingest.store.migrations import check_schema

ToOption = Annotated[str | None, typer.Option("--to", metavar="NAME", help="Only this destination.")]
LaneOption = Annotated[str | None, typer.Option("--lane", metavar="LANE", help="Only this lane.")]
CodeOption = Annotated[str | None, typer.Option("--code", "--reason", metavar="CODE", help="Only this reason code.")]
BatchOption = Annotated[
    int | None, typer.Option("--batch", metavar="ID", min=1, help="Only what failed with this batch.")
]
_MOMENT = "ISO 8601 (UTC unless it says otherwise), or so long ago: 30m, 2h, 7d."
SinceOption = Annotated[str | None, typer.Option("--since", metavar="WHEN", help=f"Failed last at or after: {_MOMENT}")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help=f"Failed last before: {_MOMENT}")]
ListOption = Annotated[
    list[str] | None, typer.Option("--list", metavar="UUID", help="A list that the contacts join; repeatable.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="The same file under the same key counts once a day; another is refused.")
]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait for room so long in all, then stop.")
]
LaneOptionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lane-option",
        metavar="NAME=VALUE",
        help="An option that the platform takes per request, such as contact_list_id=4711; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def open_engine(*, writes: bool = False) -> Engine:
    """The engine of this process, once Redis has answered and its keys are known to be of this release's schema: a
    command that reads keys of another one would tell untruths. With `writes`, new keys are claimed for the schema."""
    engine = current_engine()
    if not engine.destinations:
        raise none_configured()
    engine.client.ping()
    if writes:
        engine.check_schema()
    else:
        check_schema(engine.client, engine.settings.key_prefix, engine.destinations)
    return engine


def runtimes_of(engine: Engine, to: str | None, lane: str | None = None) -> list[DestinationRuntime]:
    """The destinations that the options select: that of the lane, the one named, or all."""
    if lane is None:
        return [engine.runtime(to)] if to is not None else list(engine.runtimes())
    with contextlib.suppress(ValueError):  # no lane has such a name: the error below says which there are
        destination = LaneName(lane).destination
        if to not in (None, destination):
            raise SettingError("--lane", f"{lane} is a lane of {destination}, not of {to}")
    known = {name: runtime for runtime in engine.runtimes() for name in lane_names(runtime.store)}
    if lane not in known:
        raise SettingError("--lane", f"there is no lane {lane}; there is: {', '.join(sorted(known)) or 'none so far'}")
    return [known[lane]]


def runtime_of(engine: Engine, to: str | None, lane: str | None) -> DestinationRuntime:
    """The one destination that the options select. It need not be named where there is only one."""
    found = runtimes_of(engine, to, lane)
    if len(found) != 1:
        raise SettingError("--to", f"name a destination; there is: {', '.join(engine.destinations)}")
    return found[0]


def lanes_of(engine: Engine, to: str | None, lane: str | None) -> list[tuple[DestinationRuntime, str]]:
    """The lanes that the options select, each with its destination."""
    return [
        (runtime, name)
        for runtime in runtimes_of(engine, to, lane)
        for name in ([lane] if lane else lane_names(runtime.store))
    ]


def moment_ms(option: str, text: str | None, now_ms: int) -> int | None:
    """A moment, such as `2026-11-22T08:00:00Z` or `2h` (ago), in Unix milliseconds. `now_ms` is Redis' clock."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingError(option, "write it as 2026-11-22T08:00:00Z, or as 30m, 2h, 7d ago") from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def lane_options(given: Sequence[str], lists: Sequence[str] = ()) -> dict[str, Any]:
    """The options of a lane from `--lane-option NAME=VALUE` and `--list UUID`: `{"contact_list_id": "4711"}`.

    A value is text, unless it begins with `[` or `{`: then it is JSON. `list_ids` may come several times, each with one
    list or a JSON array of them. Raises `SettingError`."""
    options: dict[str, Any] = {}
    list_ids = list(lists)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise SettingError("--lane-option", "write it as NAME=VALUE, such as contact_list_id=4711")
        read = _json_or_text(value)
        if name == "list_ids":
            list_ids += read if isinstance(read, list) else [read]
        elif name in options:
            raise SettingError("--lane-option", f"{name} is given twice")
        else:
            options[name] = read
    return options | ({"list_ids": list_ids} if list_ids else {})


def _json_or_text(value: str) -> Any:
    if not value.startswith(("[", "{")):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise SettingError("--lane-option", "what begins with [ or { must be JSON") from None


class FailureOptions:
    """The options that select failures. `since` and `until` stay text, as each destination's clock decides them."""

    def __init__(
        self,
        *,
        lane: str | None = None,
        code: str | None = None,
        batch: int | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> None:
        self._code = code
        self._batch = batch
        self._lane = lane
        self._since = since
        self._until = until

    @property
    def any_given(self) -> bool:
        """Whether any option was given."""
        given = (self._code, self._batch, self._lane, self._since, self._until)
        return any(option is not None for option in given)

    def filter_for(self, runtime: DestinationRuntime) -> FailureFilter:
        now_ms = runtime.clock.now_ms() if self._since or self._until else 0
        return FailureFilter(
            code=self._code,
            batch=self._batch,
            lane=self._lane,
            since_ms=moment_ms("--since", self._since, now_ms),
            until_ms=moment_ms("--until", self._until, now_ms),
        )
