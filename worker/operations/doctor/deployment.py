"""Checks of the deployment: encryption on the way to the servers, replicas, and the memory that Redis may use."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import NoPermissionError

from contact_ingest.config.settings import Settings
from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, note, ok, wrong
from contact_ingest.store.redis_server import FULL_SHARE

#: Producers are refused above `FULL_SHARE` of the memory. The doctor warns from this share of that share on.
NEAR = 0.9
_LOCAL = ("localhost", "::1")
#: Variables by which other programs are told of a proxy.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_IN_CLEAR = {"redis": "rediss", "amqp": "amqps"}


def check_setup(engine: EngineProtocol) -> Iterator[Finding]:
    yield from check_encryption(engine.settings)
    yield from check_proxy(engine.settings)
    yield from _check_replicas(engine)
    yield from _check_room(engine.client)


def check_encryption(settings: Settings) -> Iterator[Finding]:
    """Unencrypted connections to another machine. A note, not a finding: the network may be private."""
    for name, secret in (("REDIS_URL", settings.redis_url), ("CELERY_BROKER_URL", settings.broker_url)):
        address = urlsplit(secret.get_secret_value()) if secret is not None else None
        if address is None or address.scheme not in (*_IN_CLEAR, *_IN_CLEAR.values()):
            continue
        host = address.hostname or "localhost"
        if address.scheme in _IN_CLEAR.values():
            yield ok(f"{name}: encryption", "TLS")
        elif host not in _LOCAL and not host.startswith("127."):
            yield note(
                f"{name}: encryption",
                "contacts and passwords travel to another machine in clear",
                f"use {_IN_CLEAR[address.scheme]}://, unless that network is yours alone",
            )


def check_proxy(settings: Settings) -> Iterator[Finding]:
    """Whether requests go through a proxy, and whether the environment names one that is not used."""
    about = "way out"
    if settings.http_proxy is not None:
        yield ok(about, "requests to platforms go through the one of CONTACT_INGEST_HTTP_PROXY")
    elif unread := [name for name in PROXY_VARIABLES if os.environ.get(name)]:
        yield note(
            about,
            f"{', '.join(unread)} set, and not read: requests to platforms go out directly",
            "set CONTACT_INGEST_HTTP_PROXY if they must go through a proxy",
        )


def _check_replicas(engine: EngineProtocol) -> Iterator[Finding]:
    """Whether Redis has the replicas that CONTACT_INGEST_STORE_ACK_REPLICAS asks for. Without them every enqueue
    fails."""
    wanted = engine.settings.store_ack_replicas
    if not wanted:
        return
    try:
        engine.client.wait(0, 1)
        info = engine.client.info("replication")
    except NoPermissionError:
        yield wrong(
            "replicas",
            "the ACL forbids WAIT or INFO, so that every enqueue fails",
            "allow +wait and +info, or set CONTACT_INGEST_STORE_ACK_REPLICAS to 0",
        )
        return
    there = sum(_is_online(value) for name, value in info.items() if name.startswith("slave"))
    if there < wanted:
        yield wrong(
            "replicas",
            f"{there} are connected, of {wanted} that must have an enqueue before it returns: producers are refused",
            "mend the replicas, or lower CONTACT_INGEST_STORE_ACK_REPLICAS",
        )
    else:
        yield ok("replicas", f"{there} connected, {wanted} asked for")


def _is_online(replica: Any) -> bool:
    return isinstance(replica, dict) and replica.get("state") == "online"


def _check_room(client: Any) -> Iterator[Finding]:
    """A warning before memory is short. The checks in `redis` say when it is short already."""
    try:
        info = client.info("memory")
    except NoPermissionError:
        return
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if not most:
        yield note(
            "maxmemory",
            "none is set: a machine that runs out of memory ends the server, instead of producers being told to wait",
            "set `maxmemory` to what the machine can spare; above 80 % of it producers are refused, and lanes drain",
        )
    elif NEAR * FULL_SHARE * most < used <= FULL_SHARE * most:
        yield note(
            "maxmemory",
            f"{used:,} of {most:,} bytes are used; above {FULL_SHARE:.0%} producers are refused",
            "raise maxmemory, start more workers, or export and discard old failures",
        )
