"""A lane: a destination plus what the platform takes per request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Lane:
    """One destination plus what the platform takes per request rather than per contact."""

    name: str
    destination: str
    options: Mapping[str, Any] = field(default_factory=dict)


def lane_name(destination: str, options: Mapping[str, Any]) -> str:
    """`newsletter`, or `newsletter+1f2e3d4c` where the lane has options of its own."""
    if not options:
        return destination
    text = orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS)
    return f"{destination}+{blake2b(text, digest_size=4).hexdigest()}"
