"""A keyspace of schema 2, as release 0.1 (commit aff6245) has written it, and what that release said of it.

`schema_2.json.gz` is a keyspace at rest: SendGrid and Loops, three lanes, 30 failures of all stages, held and retried
records, contacts in quarantine, a paused lane, an open breaker, a keyed call. `schema_2.expected.json.gz` is what that
release said of it. `schema_2_in_flight.json.gz` has one batch whose import is asked about. A dump is {"schema",
"prefix", "recorded_ms", "keys": [{"key", "type", "ttl_ms", "value"}]}; all values are base64.
`enqueue_schema_2.lua` is the script by which a producer of that release appends.
"""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from contact_ingest.config.settings import Destination, Settings
from contact_ingest.engine import Engine
from contact_ingest.model.identity import DIGEST_BYTES
from contact_ingest.store.keys import Keys

DATA = Path(__file__).parents[1] / "store" / "data"
PREFIX = "recorded"
EXPECTED: dict[str, Any] = json.loads(gzip.decompress((DATA / "schema_2.expected.json.gz").read_bytes()))
DESTINATIONS = {
    "newsletter": {"platform": "sendgrid"},
    "product": {"platform": "loops", "unknown_fields": "drop"},
}
#: Keys that last for two seconds: they may be gone, and are not moved.
SHORT = set(EXPECTED["short_lived"])


def widened(key: str, digests: bytes) -> bytes:
    """Identity digests of schema 2 have 8 bytes. Should this release have others, give them that length."""
    if not key.endswith((":busy", ":failed:by", ":failed:keys", ":keys")):
        return digests
    parts = (digests[at : at + 8] for at in range(0, len(digests), 8))
    return b"".join(part.ljust(DIGEST_BYTES, b"-")[:DIGEST_BYTES] for part in parts)


def load(client: Any, name: str) -> dict[str, Any]:
    """Put a dump into a server. The clocks of its destinations and accounts go on from the moment of the recording."""
    content: dict[str, Any] = json.loads(gzip.decompress((DATA / name).read_bytes()))
    decode = base64.b64decode
    pipe = client.pipeline(transaction=False)
    for entry in content["keys"]:
        key, value = entry["key"], entry["value"]
        match entry["type"]:
            case "string":
                pipe.set(key, widened(key, decode(value)))
            case "hash":
                found = {decode(name): decode(held) for name, held in value}
                if key.endswith(":failed:keys"):
                    found = {name: widened(key, held) for name, held in found.items()}
                elif key.endswith((":busy", ":failed:by")):
                    found = {widened(key, name): held for name, held in found.items()}
                pipe.hset(key, mapping=found)
            case "list":
                pipe.rpush(key, *map(decode, value))
            case "zset":
                pipe.zadd(key, {decode(member): score for member, score in value})
        if entry["ttl_ms"] is not None and key not in SHORT:
            pipe.pexpire(key, max(60_000, entry["ttl_ms"]))
    seconds, micros = client.time()
    for base in {key["key"].partition("}:")[0] + "}:" for key in content["keys"] if "{" in key["key"]}:
        pipe.incrby(f"{base}clock", content["recorded_ms"] - seconds * 1000 - micros // 1000)
    pipe.execute()
    return content


def content_of(client: Any) -> dict[bytes, tuple[str, object, bool]]:
    """Every key: its type, its value, and whether it expires."""
    read = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    kinds = {key: client.type(key).decode() for key in client.scan_iter(count=1000)}
    return {key: (kind, read[kind](key), client.pttl(key) >= 0) for key, kind in kinds.items()}


def engine_on(url: str) -> Engine:
    """This release on the recorded keyspace. The accounts are those of the recording, which no test may call."""
    made = Settings(REDIS_URL=url, key_prefix=PREFIX, max_wait_s=0, poll_first_s=0.05, orphan_wait_s=600, breaker_s=0.5)
    accounts = EXPECTED["destinations"]
    destinations = {
        name: Destination(api_key=accounts[name]["api_key"], base_url=accounts[name]["base_url"], **given)
        for name, given in DESTINATIONS.items()
    }
    return Engine(made.model_copy(update={"destinations": destinations}))


def append_as_schema_2(client: Any, destination: str, lane: str) -> Any:
    """Append a record as a producer of the older release does."""
    script = (DATA / "enqueue_schema_2.lua").read_text()
    given = ["call-1", 60_000, lane, "{}", 10**9, 0, 1000, 10**6, 30, 0.8, b'{"email":"late@example.com"}']
    return client.eval(script, 1, Keys(PREFIX, destination).base, *given)
