"""The sandbox's own pages under /sandbox: dials, journal, totals, the contacts of an account, and a reset.

These pages need no key, meet no fault and leave no entry in the journal.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contact_ingest.sandbox.dials import DialError, Dials
from contact_ingest.sandbox.journal import Journal
from contact_ingest.sandbox.messages import Platform
from contact_ingest.sandbox.middleware import TrafficMiddleware
from contact_ingest.sandbox.random_source import RandomSource

#: Contacts in one page of /sandbox/contacts.
MAX_CONTACTS = 50_000


@dataclass(frozen=True, slots=True)
class AdminApi:
    dials: Dials
    journal: Journal
    middleware: TrafficMiddleware
    platforms: Sequence[Platform]
    random_source: RandomSource
    #: Functions that put contacts into an account past all rules, by the name of the platform's default account.
    seeds: Mapping[str, Callable[[list[dict[str, Any]]], None]]

    def routes(self) -> list[Route]:
        return [
            Route("/dials", _on_event_loop(self._read_dials), methods=["GET"]),
            Route("/dials", self._change_dials, methods=["PUT"]),
            Route("/journal", _on_event_loop(self._read_journal), methods=["GET"]),
            Route("/totals", _on_event_loop(self._read_totals), methods=["GET"]),
            Route("/contacts", _on_event_loop(self._read_contacts), methods=["GET"]),
            Route("/contacts", self._seed_contacts, methods=["POST"]),
            Route("/reset", _on_event_loop(self._reset), methods=["POST"]),
        ]

    def change(self, changes: Mapping[str, Any]) -> None:
        self.dials.change(changes)
        if "seed" in changes:
            self.random_source.seed(self.dials.traffic.seed)

    def advance(self) -> None:
        for platform in self.platforms:
            platform.advance()

    def _read_dials(self, _: Request) -> Response:
        return _json(self.dials.as_dict())

    async def _change_dials(self, request: Request) -> Response:
        try:
            changes = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            changes = None
        if not isinstance(changes, dict):
            return _json({"error": "dials: a JSON object is expected"}, 400)
        try:
            self.change(changes)
        except DialError as error:
            return _json({"error": str(error)}, 400)
        return _json(self.dials.as_dict())

    def _read_journal(self, request: Request) -> Response:
        return _json(self.journal.after(_number(request, "after", 0)))

    def _read_totals(self, _: Request) -> Response:
        self.advance()
        counts: dict[str, int] = {}
        for platform in self.platforms:
            for name, count in platform.counts().items():
                counts[name] = counts.get(name, 0) + count
        return _json(self.journal.totals() | counts)

    def _read_contacts(self, request: Request) -> Response:
        self.advance()
        account = request.query_params.get("account", self.platforms[0].default_account)
        limit = min(_number(request, "limit", 10_000), MAX_CONTACTS)
        platform = next((each for each in self.platforms if account.startswith(each.default_account)), None)
        found = platform.contacts(account, _number(request, "after", 0), limit) if platform else []
        lines = b"".join(orjson.dumps(contact, option=orjson.OPT_APPEND_NEWLINE) for contact in found)
        return Response(lines, media_type="application/x-ndjson")

    async def _seed_contacts(self, request: Request) -> Response:
        seed = self.seeds.get(request.query_params.get("account", ""))
        if seed is None:
            return _json({"error": "account: cannot be seeded"}, 400)
        try:
            seed(orjson.loads(await request.body()))
        except (ValueError, TypeError, KeyError, AttributeError):
            return _json(
                {"error": "contacts: an array of contacts is expected, in the form that GET /sandbox/contacts gives"},
                400,
            )
        return Response(status_code=204)

    def _reset(self, _: Request) -> Response:
        for platform in self.platforms:
            platform.reset()
        self.journal.reset()
        self.middleware.reset()
        self.dials.reset()
        self.random_source.seed(self.dials.traffic.seed)
        return Response(status_code=204)


def _on_event_loop(page: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An async endpoint of a page: Starlette would run the plain function in another thread, beside the event loop."""

    async def answer(request: Request) -> Response:
        return page(request)

    return answer


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
