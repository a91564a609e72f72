"""Bodies: one JSON object, declared as JSON, uncompressed."""

from typing import Any

import orjson

from contact_ingest.sandbox.loops.replies import refusal
from contact_ingest.sandbox.messages import Call, Rejected


def json_object(call: Call) -> dict[str, Any]:
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(refusal(400, "Content-Type must be application/json"))
    if call.headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected(refusal(400, "Invalid JSON"))
    try:
        content = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        raise Rejected(refusal(400, "Invalid JSON")) from None
    if type(content) is not dict:
        raise Rejected(refusal(400, "The body must be an object"))
    return content
