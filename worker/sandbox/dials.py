"""The dials: everything about the sandbox that a test may turn while it runs.

A change is checked as a whole before any of it counts, and an unknown name or a wrong value is refused by name. The
dials here belong to every platform; a platform adds a group of its own, and all groups share one flat set of names.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Fault = Literal[
    "ok",
    "401",
    "403",
    "408",
    "429",
    "500",
    "502",
    "503",
    "504",
    "drop_before",
    "drop_after",
    "unreadable",
    "black_hole",
    "502_after",
    "504_after",
]

#: Dials that speak of endpoints and limits, all of which must exist.
ENDPOINT_DIALS = ("limits", "faults_on", "emarsys_forbidden")

Group = TypeVar("Group", bound=msgspec.Struct)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many requests in any span of so many seconds, for each account."""

    limit: Count
    window_s: Annotated[float, msgspec.Meta(gt=0)]


class TrafficDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens on the way, whatever the platform."""

    #: Replies take this long, from and to; a request acts at the end of it, even if its caller has gone by then.
    latency_ms: tuple[Seconds, Seconds] = (0, 0)
    rate_429: Share = 0.0
    rate_5xx: Share = 0.0
    #: The connection is closed as soon as the headers are in; nothing is acted upon.
    drop_before: Share = 0.0
    #: The request is acted upon, then the connection is closed without a reply.
    drop_after: Share = 0.0
    unreadable_2xx: Share = 0.0
    #: Faults that the next requests meet, one each, before any share is drawn; "ok" spares one request.
    script: tuple[Fault, ...] = ()
    #: Endpoints, or limits for all that count against them, that meet faults and latency; empty means all that a key
    #: opens.
    faults_on: tuple[str, ...] = ()
    auth_down: bool = False
    #: Connections are accepted, requests read, and nothing is ever answered.
    black_hole: bool = False
    #: Bodies above the documented cap get 413; a hidden cap lies below it.
    hidden_byte_cap: Count | None = None
    limits: dict[str, Limit] = {}
    #: How X-RateLimit-Reset is written where the platform's documentation does not say; with "none" no platform sends
    #: any of these headers.
    rate_headers: Literal["seconds", "epoch", "none"] = "seconds"
    seed: int = 0

    def __post_init__(self) -> None:
        ordered("latency_ms", self.latency_ms)


class DialError(ValueError):
    """A change of dials was refused; the message says which dial and why."""


class Dials:
    """All groups of dials together, read by group and changed by name."""

    def __init__(self, *groups: msgspec.Struct, endpoints: Collection[str]) -> None:
        self._endpoints = frozenset(endpoints)
        self._initial = groups
        self._groups = {type(group): group for group in groups}

    def group(self, kind: type[Group]) -> Group:
        found = self._groups[kind]
        assert isinstance(found, kind)
        return found

    @property
    def traffic(self) -> TrafficDials:
        return self.group(TrafficDials)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for group in self._groups.values() for name, value in msgspec.to_builtins(group).items()}

    def change(self, changes: Mapping[str, Any]) -> None:
        changed: dict[type[msgspec.Struct], dict[str, Any]] = {}
        for name, value in changes.items():
            owner = next((kind for kind in self._groups if name in kind.__struct_fields__), None)
            if owner is None:
                raise DialError(f"{name}: no such dial")
            if name in ENDPOINT_DIALS and isinstance(value, list | tuple | dict):
                self._check_endpoints(name, value)
            if name == "limits" and isinstance(value, dict):
                value = msgspec.to_builtins(self.traffic.limits) | value  # noqa: PLW2901 - one endpoint at a time
            changed.setdefault(owner, {})[name] = value
        groups = {kind: self._rebuilt(kind, values) for kind, values in changed.items()}
        self._groups.update(groups)

    def reset(self) -> None:
        self._groups = {type(group): group for group in self._initial}

    def start_from_here(self) -> None:
        """Make the present positions the ones that a reset returns to."""
        self._initial = tuple(self._groups.values())

    def _rebuilt(self, kind: type[msgspec.Struct], values: dict[str, Any]) -> msgspec.Struct:
        before = msgspec.to_builtins(self._groups[kind])
        try:
            # One at a time first, so that the message can begin with the dial's name.
            for name, value in values.items():
                msgspec.convert({**before, name: value}, kind)
        except msgspec.ValidationError as error:
            raise DialError(f"{name}: {error}") from None
        return msgspec.convert({**before, **values}, kind)

    def _check_endpoints(self, name: str, endpoints: Collection[Any]) -> None:
        if unknown := sorted(set(map(str, endpoints)) - self._endpoints):
            raise DialError(f"{name}: no such endpoint: {', '.join(unknown)}")


def ordered(name: str, span: tuple[float, float]) -> None:
    if span[0] > span[1]:
        raise ValueError(f"{name}: the first number is the larger one")
