"""The far side of the wire, scripted: a platform in this process for what the sandbox cannot be dialled to say, and a
clock that tests turn forward."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from contact_ingest.model.http_message import Request, Response
from contact_ingest.store.keys import Keys
from contact_ingest.transport.auth import AuthenticatedClient

Answer = Response | BaseException


def reply(status: int, content: object = None, **headers: str) -> Response:
    body = content if isinstance(content, bytes) else b"" if content is None else orjson.dumps(content)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 1)


class Peer:
    """Stands where the transport stands: hears each request and answers it, or breaks off."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.heard: list[Request] = []

    def exchange(self, request: Request, *, deadline_s: float | None = None) -> Response:
        self.heard.append(request)
        answer = self.answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """There is nothing to close."""


def with_http_client(runtime: Any, http_client: Any, provider: Any = None) -> Any:
    """The runtime with another way to the platform, and perhaps another provider. Custom fields go the old way."""
    provider = provider or runtime.provider
    exchanger = replace(runtime.exchanger, http_client=http_client)
    parts = {
        "provider": provider,
        "exchanger": exchanger,
        "prober": replace(runtime.dispatcher.prober, exchanger=exchanger, provider=provider),
    }
    return replace(
        runtime,
        provider=provider,
        exchanger=exchanger,
        dispatcher=replace(runtime.dispatcher, **parts),
        poller=runtime.poller and replace(runtime.poller, **parts),
    )


def speak_to(peer: Peer, harness: Any, *, custom_fields: bool = False) -> None:
    """Let the engine's only destination be this peer, on request for its custom fields too."""
    runtime = harness.runtime
    runtime.exchanger.http_client.close()
    runtime = with_http_client(runtime, AuthenticatedClient(peer, runtime.provider, runtime.store))
    if custom_fields:
        runtime = replace(runtime, custom_fields=replace(runtime.custom_fields, exchanger=runtime.exchanger))
        runtime.aggregator._custom_fields = runtime.custom_fields
    harness.engine._runtimes[runtime.name] = runtime


def advance(runtime: Any, seconds: float) -> None:
    """Turn the server's clock forward, for the destination and its limits; wake-ups sent before it are long over."""
    client, store = runtime.store.client, runtime.store
    limits = Keys(store.keys.prefix, f"limit-{runtime.provider.account}").base
    for base in (store.keys.base, limits):
        client.incrby(f"{base}clock_offset", round(seconds * 1000))
    for wakeup in client.scan_iter(match=store.keys("wakeup:*").replace("{", "\\{"), count=1000):
        client.delete(wakeup)
