"""A lane is one destination plus the options that a platform takes per request. Names of lanes, and ids of records.

Examples: lane `newsletter`; lane `newsletter+1f2e3d4c` (the same destination, with options); record `newsletter:120`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import orjson

#: The form of a destination's name.
DESTINATION_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LANE_NAME = re.compile(rf"({DESTINATION_NAME.pattern})(?:\+[0-9a-f]{{8}})?")


class LaneName(str):
    """The name of a lane: a destination, or a destination and a digest of the lane's options.

    Raises `ValueError`, without the text, if the text does not have that form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _LANE_NAME.fullmatch(text):
            raise ValueError("not the name of a lane")
        return super().__new__(cls, text)

    @property
    def destination(self) -> str:
        """`newsletter` of `newsletter+1f2e3d4c`."""
        return self.partition("+")[0]


class RecordId(NamedTuple):
    """The id of a record: its lane and its number in the lane. As text: `newsletter:120`."""

    lane: LaneName
    seq: int

    @classmethod
    def parse(cls, text: str) -> "RecordId":
        """Read an id. Raises `ValueError`, without the text, if the text does not have that form."""
        lane, _, seq = text.rpartition(":")
        if not (seq.isascii() and seq.isdecimal()):
            raise ValueError("not the id of a record")
        return cls(LaneName(lane), int(seq))

    def __str__(self) -> str:
        return format_record_id(self.lane, self.seq)


def format_record_id(lane: str, seq: int) -> str:
    """The id of a record as text: `newsletter:120`."""
    return f"{lane}:{seq}"


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane with its options, for example `{"list_ids": ["3f0c..."]}`: what the platform takes per request."""

    name: LaneName
    destination: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> "Lane":
        """The lane of that name. Raises `ValueError` if the text is not the name of a lane."""
        lane = LaneName(name)
        return cls(lane, lane.destination, options)


def lane_name(destination: str, options: Mapping[str, Any]) -> LaneName:
    """The name of the lane: equal options, in whatever order of their names, give the same name."""
    if not options:
        return LaneName(destination)
    text = orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS)
    return LaneName(f"{destination}+{blake2b(text, digest_size=4).hexdigest()}")
