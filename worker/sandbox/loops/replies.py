"""Replies in Loops' forms. Since 2025-09-11 every error has `success` and `message`; the older `error` is still sent.

Source: the changelog and the specification 1.21.6 (loops.so/docs/api-reference), checked 2026-11-22.
"""

from dataclasses import replace

from contact_ingest.sandbox.messages import Reply, json_reply

MESSAGES = {
    401: "Invalid API key",
    403: "Forbidden",
    404: "Not found",
    408: "Request timeout",
    409: "Email or userId is already being used.",
    413: "Payload too large",
    429: "Too many requests",
    500: "Internal server error",
}
#: Replies of the load balancer in front, which are not JSON.
BALANCER_TEXTS = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}


def refusal(status: int, message: str = "") -> Reply:
    if status in BALANCER_TEXTS:
        page = f"<html><body><h1>{status} {BALANCER_TEXTS[status]}</h1></body></html>"
        return Reply(status, page.encode(), "text/html")
    text = message or MESSAGES.get(status, "Bad request")
    return json_reply(status, {"success": False, "message": text, "error": text})


def method_not_allowed() -> Reply:
    """A 405 without a body: the specification declares none."""
    return Reply(405, b"", "text/plain")


def too_many_requests(shape: str) -> Reply:
    if shape == "json":
        return refusal(429)
    return Reply(429, b"" if shape == "empty" else b"Too Many Requests", "text/plain")


def contact_saved(contact_id: str, note: str) -> Reply:
    return replace(json_reply(200, {"success": True, "id": contact_id}), contacts=1, note=note)
