"""JSON from outside that is read only if it is no trap: a byte of empty lists costs thirty in memory."""

from typing import Any

import orjson

#: A reply or a file about every contact of the largest request has far fewer.
MAX_BRACKETS = 400_000
MAX_COMMAS = 1_500_000


def is_dense(text: str) -> bool:
    return text.count("[") + text.count("{") > MAX_BRACKETS or text.count(",") > MAX_COMMAS


def decode(body: bytes) -> Any:
    """The JSON of a reply; None if it is none, or a trap."""
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS or body.count(b",") > MAX_COMMAS:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
