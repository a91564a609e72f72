"""Reads JSON from outside, unless it would take too much memory: a byte of empty lists becomes thirty bytes."""

from typing import Any

import orjson

#: Most opening brackets and most commas. A reply or a file about every contact of the largest request has far fewer.
MAX_BRACKETS = 400_000
MAX_COMMAS = 1_500_000


def is_dense(text: str) -> bool:
    """Whether the text has so many lists, objects or entries that reading it would take too much memory."""
    return text.count("[") + text.count("{") > MAX_BRACKETS or text.count(",") > MAX_COMMAS


def decode(body: bytes) -> Any:
    """The JSON of a reply, decoded; None if it is not JSON, or too dense."""
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS or body.count(b",") > MAX_COMMAS:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
