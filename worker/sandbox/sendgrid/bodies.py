"""Reads the bodies of the small endpoints: a JSON object with known keys."""

from typing import Any

import orjson

from contact_ingest.sandbox.messages import Rejected, Request
from contact_ingest.sandbox.sendgrid.replies import refusal


def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON, or is compressed: no document says that it may be compressed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(refusal(400, "Content-Type should be application/json"))
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Rejected(refusal(400, "invalid JSON"))


def json_object(request: Request, required: set[str]) -> dict[str, Any]:
    """The body, which must have all of the `required` keys and no others."""
    require_json(request)
    try:
        content = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Rejected(refusal(400, "invalid JSON")) from None
    if type(content) is not dict:
        raise Rejected(refusal(400, "the body must be an object"))
    if wrong := sorted(required ^ content.keys()):
        raise Rejected(refusal(400, "missing or unknown field", wrong[0]))
    return content
