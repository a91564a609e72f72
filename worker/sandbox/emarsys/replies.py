"""Replies in Emarsys' envelope: `replyCode`, `replyText` and `data`. `data` is an empty text if the request failed.

Source: the registry of reply codes and the error pages (documentation.emarsys.com), checked 2026-11-22. The same number
has several meanings, and a status of 200 does not mean success.
"""

from contact_ingest.sandbox.messages import Reply, json_reply

TEXTS = {
    1: "Unauthorized",
    1000: "Too many contacts: 1000 is the maximum",
    1001: "Invalid or missing parameter",
    1006: "Empty parameter",
    1009: "Invalid request method",
    1010: "The request body is not valid JSON",
    1016: "Invalid input type",
    2001: "Fields could not be loaded, try again later",
    2003: "An array is expected",
    2011: "Database error",
    2013: "Invalid source id",
    2020: "Invalid contact list id",
    7003: "Too many requests",
}
#: Replies of the servers in front, which have no envelope.
FRONT_TEXTS = {408: "Request Timeout", 413: "Request Entity Too Large", 502: "Bad Gateway", 504: "Gateway Timeout"}
FRONT_TEXTS[503] = "Service Unavailable"


def ok(data: object) -> Reply:
    return json_reply(200, {"replyCode": 0, "replyText": "OK", "data": data})


def refusal(status: int, code: int, text: str = "") -> Reply:
    return json_reply(status, {"replyCode": code, "replyText": text or TEXTS.get(code, "Error"), "data": ""})


def error_reply(status: int) -> Reply:
    """The general reply with a status. A 403, for a user without permission, has no body."""
    if status == 403:
        return Reply(403, b"", "text/plain")
    if status in FRONT_TEXTS:
        page = f"<html><body><h1>{status} {FRONT_TEXTS[status]}</h1></body></html>"
        return Reply(status, page.encode(), "text/html")
    if status == 429:
        return refusal(429, 7003)
    return refusal(status, 1, "" if status == 401 else "Internal error")
