"""What every platform request passes through: journal, key, limit, faults, then the platform, then the reply.

A request counts against its limit when its headers arrive, and that moment also decides refusals and faults. The body
is read to its end before a refusal goes out; only faults of the connection itself come earlier.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contact_ingest.sandbox.connection import CallerGone, hang_up, read_body, wait_until_gone
from contact_ingest.sandbox.dials import Dials
from contact_ingest.sandbox.journal import Journal, JournalEntry
from contact_ingest.sandbox.limits import LimitStatus, SlidingWindows
from contact_ingest.sandbox.messages import Platform, Reply, Request
from contact_ingest.sandbox.random_source import RandomSource


@dataclass(frozen=True, slots=True, repr=False)
class Arrival:
    """A request whose headers have arrived, and what they decided. `refusal` goes out once the body is read."""

    entry: JournalEntry
    platform: Platform
    request: Request
    fault: str = "ok"
    refusal: Reply | None = None
    limit_status: LimitStatus | None = None
    latency_s: float = 0.0


class TrafficMiddleware:
    """The ASGI application in front of the platforms."""

    def __init__(
        self, platforms: Sequence[Platform], dials: Dials, journal: Journal, random_source: RandomSource
    ) -> None:
        self._platforms = platforms
        self._dials = dials
        self._journal = journal
        self._random_source = random_source
        self._windows = SlidingWindows()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every request that is waiting: the server shuts down."""
        self._closing.set()

    def reset(self) -> None:
        self._windows.reset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrival = self._arrive(scope)
        entry = arrival.entry
        try:
            reply = await self._reply(arrival, receive)
            if reply is None:
                entry.fate = arrival.fault
                await (self._ignore(scope, receive) if arrival.fault == "black_hole" else hang_up(scope, receive))
                return
        except CallerGone:
            entry.fate = "caller_left"
            await hang_up(scope, receive)
            return
        entry.status, entry.note = reply.status, reply.note
        entry.fate = "unreadable" if arrival.fault == "unreadable" else "answered"
        headers = self._rate_headers(arrival)
        await Response(reply.body, reply.status, headers, reply.content_type)(scope, receive, send)

    def _arrive(self, scope: Scope) -> Arrival:
        """Open a journal entry, and decide what the headers alone decide."""
        headers, path = Headers(scope=scope), scope["path"]
        platform = next((each for each in self._platforms if each.owns(path)), self._platforms[0])
        endpoint, account = platform.endpoint(scope["method"], path), platform.account(headers)
        entry = self._journal.open(time.time(), scope["method"], endpoint, account)
        origin = f"{scope['scheme']}://{headers.get('host', 'localhost')}"
        request = Request(scope["method"], path, QueryParams(scope["query_string"]), headers, b"", account, origin)
        arrival = Arrival(entry, platform, request)
        if self._dials.traffic.black_hole:
            return replace(arrival, fault="black_hole")
        if self._dials.traffic.auth_down and platform.limit(endpoint) in self._dials.traffic.limits:
            return replace(arrival, refusal=platform.error_reply(401))
        arrival = replace(arrival, refusal=platform.refuse_caller(request))
        return arrival if arrival.refusal else self._apply_limit_and_faults(arrival)

    def _apply_limit_and_faults(self, arrival: Arrival) -> Arrival:
        """Count a request against its limit, and draw its fault and latency."""
        entry, dials = arrival.entry, self._dials.traffic
        name = arrival.platform.limit(entry.endpoint)
        if limit := dials.limits.get(name):
            limit_status = self._windows.arrive(entry.account, name, time.monotonic(), limit.limit, limit.window_s)
            arrival = replace(arrival, limit_status=limit_status)
            if not limit_status.allowed:
                return replace(arrival, refusal=replace(arrival.platform.error_reply(429), note="limit"))
        if {entry.endpoint, name} & set(dials.faults_on) if dials.faults_on else name in dials.limits:
            latency_s = self._random_source.between(dials.latency_ms) / 1000
            return replace(arrival, latency_s=latency_s, fault=self._draw_fault())
        return arrival

    def _draw_fault(self) -> str:
        dials, happens = self._dials.traffic, self._random_source.happens
        if dials.script:
            self._dials.change({"script": dials.script[1:]})
            return dials.script[0]
        if happens(dials.drop_before):
            return "drop_before"
        if happens(dials.rate_429):
            return "429"
        if happens(dials.rate_5xx):
            return self._random_source.one_of(("500", "502", "503", "504"))
        if happens(dials.drop_after):
            return "drop_after"
        return "unreadable" if happens(dials.unreadable_2xx) else "ok"

    async def _reply(self, arrival: Arrival, receive: Receive) -> Reply | None:
        """The reply to a request. None: it gets no reply."""
        if arrival.fault == "drop_before":
            return None
        body = await read_body(receive)
        arrival.entry.bytes = len(body)
        if arrival.fault == "black_hole":
            return None
        await self._pause(arrival.latency_s)
        if arrival.refusal:
            return arrival.refusal
        if arrival.fault.isdigit():
            return replace(arrival.platform.error_reply(int(arrival.fault)), note="fault")
        return self._act(arrival, body)

    def _act(self, arrival: Arrival, body: bytes) -> Reply | None:
        entry = arrival.entry
        arrival.platform.advance()
        reply = arrival.platform.answer(replace(arrival.request, body=body))
        entry.contacts, entry.job_id, entry.note = reply.contacts, reply.job_id, reply.note
        if arrival.fault == "drop_after":
            return None
        if arrival.fault.endswith("_after"):
            # The gateway in front gave up waiting, but the request has taken effect.
            return replace(arrival.platform.error_reply(int(arrival.fault.removesuffix("_after"))), note="acted")
        if arrival.fault == "unreadable" and reply.status < 300:
            return replace(reply, body=b"<html>" + reply.body[: len(reply.body) // 2])
        return reply

    def _rate_headers(self, arrival: Arrival) -> dict[str, str]:
        if not arrival.limit_status:
            return {}
        # A 429 that a fault causes must not show a limit with room.
        spent = replace(arrival.limit_status, remaining=0, reset_s=1.0)
        limit_status = spent if arrival.fault == "429" else arrival.limit_status
        form = arrival.platform.rate_headers(self._dials.traffic.rate_headers)
        return limit_status.headers(form, time.time())

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return
        raise CallerGone

    async def _ignore(self, scope: Scope, receive: Receive) -> None:
        """Keep a caller waiting until the caller goes or this server ends."""
        leaving = [asyncio.ensure_future(wait_until_gone(receive)), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in leaving:
                future.cancel()
        await hang_up(scope, receive)
