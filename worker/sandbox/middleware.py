"""The gate every platform request passes: journal, key, limit, faults, then the platform, then the reply.

A request counts and is judged when its headers arrive. Its body is read to the end before any refusal goes out, except
where the connection itself is what fails.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contact_ingest.sandbox.connection import Gone, hang_up, read_body, until_gone
from contact_ingest.sandbox.dials import Dials
from contact_ingest.sandbox.journal import Entry, Journal
from contact_ingest.sandbox.limits import Standing, Windows
from contact_ingest.sandbox.messages import Call, Platform, Reply
from contact_ingest.sandbox.random_source import RandomSource


@dataclass(frozen=True, slots=True, repr=False)
class Visit:
    """What is known of a request as soon as its headers are in."""

    entry: Entry
    platform: Platform
    call: Call
    fault: str = "ok"
    refusal: Reply | None = None
    standing: Standing | None = None
    latency_s: float = 0.0


class TrafficMiddleware:
    """An ASGI application in front of the platforms."""

    def __init__(self, platforms: Sequence[Platform], dials: Dials, journal: Journal, chance: RandomSource) -> None:
        self._platforms = platforms
        self._dials = dials
        self._journal = journal
        self._chance = chance
        self._windows = Windows()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Let go of every request that is being kept waiting."""
        self._closing.set()

    def reset(self) -> None:
        self._windows.reset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = self._arrive(scope)
        entry = visit.entry
        try:
            reply = await self._reply(visit, receive)
            if reply is None:
                entry.fate = visit.fault
                await (self._ignore(scope, receive) if visit.fault == "black_hole" else hang_up(scope, receive))
                return
        except Gone:
            entry.fate = "caller_left"
            await hang_up(scope, receive)
            return
        entry.status, entry.note = reply.status, reply.note
        entry.fate = "unreadable" if visit.fault == "unreadable" else "answered"
        headers = self._rate_headers(visit)
        await Response(reply.body, reply.status, headers, reply.content_type)(scope, receive, send)

    def _arrive(self, scope: Scope) -> Visit:
        """Everything that is decided by the headers alone."""
        headers, path = Headers(scope=scope), scope["path"]
        platform = next((each for each in self._platforms if each.owns(path)), self._platforms[0])
        endpoint, account = platform.endpoint(scope["method"], path), platform.account(headers)
        entry = self._journal.open(time.time(), scope["method"], endpoint, account)
        origin = f"{scope['scheme']}://{headers.get('host', 'localhost')}"
        call = Call(scope["method"], path, QueryParams(scope["query_string"]), headers, b"", account, origin)
        visit = Visit(entry, platform, call)
        if self._dials.traffic.black_hole:
            return replace(visit, fault="black_hole")
        if self._dials.traffic.auth_down and platform.limit(endpoint) in self._dials.traffic.limits:
            return replace(visit, refusal=platform.trouble(401))
        visit = replace(visit, refusal=platform.refuses(call))
        return visit if visit.refusal else self._weigh(visit)

    def _weigh(self, visit: Visit) -> Visit:
        """Count a request against its limit, and draw the fault it is going to meet."""
        entry, dials = visit.entry, self._dials.traffic
        name = visit.platform.limit(entry.endpoint)
        if limit := dials.limits.get(name):
            standing = self._windows.arrive(entry.account, name, time.monotonic(), limit.limit, limit.window_s)
            visit = replace(visit, standing=standing)
            if not standing.allowed:
                return replace(visit, refusal=replace(visit.platform.trouble(429), note="limit"))
        if {entry.endpoint, name} & set(dials.faults_on) if dials.faults_on else name in dials.limits:
            latency_s = self._chance.between(dials.latency_ms) / 1000
            return replace(visit, latency_s=latency_s, fault=self._fault())
        return visit

    def _fault(self) -> str:
        dials, happens = self._dials.traffic, self._chance.happens
        if dials.script:
            self._dials.change({"script": dials.script[1:]})
            return dials.script[0]
        if happens(dials.drop_before):
            return "drop_before"
        if happens(dials.rate_429):
            return "429"
        if happens(dials.rate_5xx):
            return self._chance.one_of(("500", "502", "503", "504"))
        if happens(dials.drop_after):
            return "drop_after"
        return "unreadable" if happens(dials.unreadable_2xx) else "ok"

    async def _reply(self, visit: Visit, receive: Receive) -> Reply | None:
        """The reply to a request, or None where none is to be given."""
        if visit.fault == "drop_before":
            return None
        body = await read_body(receive)
        visit.entry.bytes = len(body)
        if visit.fault == "black_hole":
            return None
        await self._pause(visit.latency_s)
        if visit.refusal:
            return visit.refusal
        if visit.fault.isdigit():
            return replace(visit.platform.trouble(int(visit.fault)), note="fault")
        return self._act(visit, body)

    def _act(self, visit: Visit, body: bytes) -> Reply | None:
        entry = visit.entry
        visit.platform.advance()
        reply = visit.platform.answer(replace(visit.call, body=body))
        entry.contacts, entry.job_id, entry.note = reply.contacts, reply.job_id, reply.note
        if visit.fault == "drop_after":
            return None
        if visit.fault.endswith("_after"):
            # The gateway in front gave up on a request that the platform has acted upon.
            return replace(visit.platform.trouble(int(visit.fault.removesuffix("_after"))), note="acted")
        if visit.fault == "unreadable" and reply.status < 300:
            return replace(reply, body=b"<html>" + reply.body[: len(reply.body) // 2])
        return reply

    def _rate_headers(self, visit: Visit) -> dict[str, str]:
        if not visit.standing:
            return {}
        # A refusal for a limit that has room would contradict itself: it tells of a limit that is spent.
        spent = replace(visit.standing, remaining=0, reset_s=1.0)
        standing = spent if visit.fault == "429" else visit.standing
        form = visit.platform.rate_headers(self._dials.traffic.rate_headers)
        return standing.headers(form, time.time())

    async def _pause(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return
        raise Gone

    async def _ignore(self, scope: Scope, receive: Receive) -> None:
        """Keep a caller waiting until he goes, or until this server does."""
        leaving = [asyncio.ensure_future(until_gone(receive)), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in leaving:
                future.cancel()
        await hang_up(scope, receive)
