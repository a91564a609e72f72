"""Replies in SendGrid's forms: `errors` from the API itself, a single `message` from the gateway in front of it."""

from contact_ingest.sandbox.messages import Reply, json_reply

MESSAGES = {
    401: "authorization required",
    403: "access forbidden",
    404: "not found",
    405: "method not allowed",
    408: "request timeout",
    429: "too many requests",
    500: "internal server error",
}
#: Replies of the gateway in front; they have no `errors`.
GATEWAY_MESSAGES = {
    413: "Request Too Long",
    502: "Internal server error",
    503: "Service Unavailable",
    504: "Endpoint request timed out",
}


def refusal(status: int, message: str = "", field: str | None = None) -> Reply:
    """The form of most errors: https://www.twilio.com/docs/sendgrid/api-reference, ErrorResponse."""
    if status in GATEWAY_MESSAGES:
        return json_reply(status, {"message": message or GATEWAY_MESSAGES[status]})
    return json_reply(status, {"errors": [{"message": message or MESSAGES[status], "field": field}]})


def contact_error(message: str, field: str) -> dict[str, str]:
    """One error in the 400 of an upsert: the schema ContactsError."""
    return {"message": message, "field": field, "error_id": "", "parameter": ""}


def unknown_path(status: str) -> Reply:
    """The reply to a path that does not exist. Users report a 400 in another form (sendgrid-nodejs#963)."""
    return json_reply(400, {"message": "Not Found", "code": 404}) if status == "400" else refusal(404)


def nameless_refusal(message: str = "invalid request") -> Reply:
    """A 400 that names no field and no row."""
    return json_reply(400, {"errors": [{"message": message}]})
