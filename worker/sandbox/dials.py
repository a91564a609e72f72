"""The dials: everything about the sandbox that a test can change while the sandbox runs.

A change of several dials is checked as a whole and takes effect as a whole. An unknown name or a wrong value is refused
with the name of the dial. `TrafficDials` apply to every platform. Each platform also has a group of dials of its own.
All groups share one flat set of names.
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

#: Dials whose values name endpoints or limits. The names are checked.
ENDPOINT_DIALS = ("limits", "faults_on", "emarsys_forbidden")

Group = TypeVar("Group", bound=msgspec.Struct)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate limit of each account: `limit` requests in any `window_s` seconds."""

    limit: Count
    window_s: Annotated[float, msgspec.Meta(gt=0)]


class TrafficDials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens to requests on the way, at every platform."""

    #: The shortest and the longest time of a reply. The request takes effect at the end of it, even without its caller.
    latency_ms: tuple[Seconds, Seconds] = (0, 0)
    #: Share of requests that are refused with 429 and have no effect.
    rate_429: Share = 0.0
    #: Share of requests that are answered with 500, 502, 503 or 504 and have no effect.
    rate_5xx: Share = 0.0
    #: Share of requests whose connection is closed as soon as the headers have arrived. They have no effect.
    drop_before: Share = 0.0
    #: Share of requests that take effect and get no reply: the connection is closed.
    drop_after: Share = 0.0
    #: Share of successful requests whose reply is cut off in the middle.
    unreadable_2xx: Share = 0.0
    #: The faults of the next requests, one each, instead of the shares. "ok" is a request without a fault.
    script: tuple[Fault, ...] = ()
    #: Endpoints with faults and latency, or limits, which stand for all their endpoints. Empty: every endpoint that
    #: has a limit.
    faults_on: tuple[str, ...] = ()
    #: Every endpoint that has a limit answers 401.
    auth_down: bool = False
    #: Connections are accepted and requests are read, but never answered.
    black_hole: bool = False
    #: A cap on bodies, in bytes, below the documented one. Bodies above either cap get 413.
    hidden_byte_cap: Count | None = None
    #: The rate limit of each endpoint or account: {"sendgrid.upsert": {"limit": 600, "window_s": 60}}. A change names
    #: only some of them.
    limits: dict[str, Limit] = {}
    #: The form of X-RateLimit-Reset at platforms that do not document it. "none": no platform sends rate headers.
    rate_headers: Literal["seconds", "epoch", "none"] = "seconds"
    #: The seed of everything that is left to chance.
    seed: int = 0

    def __post_init__(self) -> None:
        ordered("latency_ms", self.latency_ms)


class DialError(ValueError):
    """A change of dials is refused. The message says which dial and why."""


class Dials:
    """All groups of dials. Code reads a group by its type; tests change dials by name."""

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
                value = msgspec.to_builtins(self.traffic.limits) | value  # noqa: PLW2901 - a change names only some endpoints
            changed.setdefault(owner, {})[name] = value
        groups = {kind: self._changed_group(kind, values) for kind, values in changed.items()}
        self._groups.update(groups)

    def reset(self) -> None:
        self._groups = {type(group): group for group in self._initial}

    def keep_as_initial(self) -> None:
        """Make the current positions those that `reset` returns to."""
        self._initial = tuple(self._groups.values())

    def _changed_group(self, kind: type[msgspec.Struct], values: dict[str, Any]) -> msgspec.Struct:
        before = msgspec.to_builtins(self._groups[kind])
        try:
            # Check each dial alone first, so that the message can begin with its name.
            for name, value in values.items():
                msgspec.convert({**before, name: value}, kind)
        except msgspec.ValidationError as error:
            raise DialError(f"{name}: {error}") from None
        return msgspec.convert({**before, **values}, kind)

    def _check_endpoints(self, name: str, endpoints: Collection[Any]) -> None:
        if unknown := sorted(set(map(str, endpoints)) - self._endpoints):
            raise DialError(f"{name}: no such endpoint: {', '.join(unknown)}")


def ordered(name: str, span: tuple[float, float]) -> None:
    """Raise `ValueError` if a span from-to runs backwards."""
    if span[0] > span[1]:
        raise ValueError(f"{name}: the first number is the larger one")
