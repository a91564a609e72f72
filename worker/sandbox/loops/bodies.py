"""Reads bodies: one JSON object, declared as JSON, uncompressed."""

from typing import Any

import orjson

from contact_ingest.sandbox.loops.replies import refusal
from contact_ingest.sandbox.messages import Rejected, Request


def json_object(request: Request) -> dict[str, Any]:
    """The body. Raises `Rejected`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(refusal(400, "Content-Type must be application/json"))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected(refusal(400, "Invalid JSON"))
    try:
        content = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Rejected(refusal(400, "Invalid JSON")) from None
    if type(content) is not dict:
        raise Rejected(refusal(400, "The body must be an object"))
    return content
