"""What schema 3 calls what schema 2 called otherwise: keys, fields of hashes, and names inside a failure. Pure."""

import re

import orjson

#: Keys of a destination, by their names in schema 2. `room` and `bell:<stage>` last for two seconds at most: they go.
DESTINATION_KEYS = {
    "v": "version",
    "serial": "batch_seq",
    "salt": "identity_salt",
    "clock": "clock_offset",
    "seen": "clock_last",
    "lead": "clock_setback",
    "dest": "state",
    "aggdue": "due:aggregate",
    "due": "due:dispatch",
    "later": "due:dispatch:low",
    "polls": "due:poll",
    "polls:later": "due:poll:low",
    "free": "quarantine",
    "busy": "inflight",
    "active": "claims",
    "failed": "failures",
    "failed:at": "failures:by_time",
    "failed:keys": "failures:digests",
    "failed:by": "failures:by_digest",
    "fields": "custom_fields",
    "token": "access_token",
}
_ACCOUNT = {"clock": "clock_offset", "seen": "clock_last", "lead": "clock_setback"}
_BEGINNINGS = {"wait:": "waiting:", "again:": "retry:", "marks:": "arrivals:", "call:": "idempotency:"}
_BATCH = re.compile(r"b:([0-9]+)(?::(body|rows|entries|keys|file))?")
_BODY_PARTS = {"body": "body", "rows": "offsets", "entries": "records", "keys": "digests", "file": "error_file"}
BATCH_FIELDS = {
    "send": "sending",
    "rest": "suspects",
    "aside": "parked",
    "group": "group_size",
    "passed": "good_in_a_row",
    "deliveries": "claims_count",
    "departed": "packed_version",
    "told": "retry_after_given",
    "setbacks": "failures_in_a_row",
    "hints": "hints_followed",
    "behind": "low_priority",
    "looks": "polls",
    "errored": "platform_failed_count",
}
LANE_FIELDS = {"again_at": "retry_cursor"}
_FAILURE_NAMES = {"departed": "packed_version", "origins": "field_versions"}
QUEUES = ("due", "later", "polls", "polls:later")


def new_name(tag: str, old: str) -> str | None:
    """The name in schema 3 of a key in schema 2, both without their base; None for one that keeps its name, and ''
    for one that goes. Example: ("newsletter", "b:7:rows") is `batch:7:offsets`."""
    if tag.startswith("limit-"):
        return _ACCOUNT.get(old)
    if old == "room" or old.startswith("bell:"):
        return ""
    if old in DESTINATION_KEYS:
        return DESTINATION_KEYS[old]
    if found := _BATCH.fullmatch(old):
        number, part = found.groups()
        return f"batch:{number}:{_BODY_PARTS[part]}" if part else f"batch:{number}"
    for beginning, new in _BEGINNINGS.items():
        if old.startswith(beginning):
            return new + old.removeprefix(beginning)
    return None


def new_failure(blob: bytes) -> bytes | None:
    """A failure with its new names; None if it has them, or cannot be read. Only the first of its lines changes."""
    first, _, rest = blob.partition(b"\n")
    try:
        about = orjson.loads(first)
    except orjson.JSONDecodeError:
        return None  # no failure that any release can read: it stays as it is
    if not isinstance(about, dict) or not _FAILURE_NAMES.keys() & about.keys():
        return None
    named = {_FAILURE_NAMES.get(name, name): value for name, value in about.items()}
    if named.get("stage") == "import":
        named["stage"] = "poll"
    return b"%b\n%b" % (orjson.dumps(named), rest)
