"""The sandbox as one ASGI application.

Its own pages are under /sandbox; everywhere else are the platforms, behind the gate.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from contact_ingest.sandbox.admin_api import AdminApi
from contact_ingest.sandbox.dials import Dials, Limit, TrafficDials
from contact_ingest.sandbox.emarsys import platform as emarsys
from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.journal import Journal
from contact_ingest.sandbox.loops import platform as loops
from contact_ingest.sandbox.loops.dials import LoopsDials
from contact_ingest.sandbox.messages import Platform
from contact_ingest.sandbox.middleware import TrafficMiddleware
from contact_ingest.sandbox.random_source import RandomSource
from contact_ingest.sandbox.sendgrid import platform as sendgrid
from contact_ingest.sandbox.sendgrid.dials import SendGridDials

LIMITS = sendgrid.LIMITS | loops.LIMITS | emarsys.LIMITS
ENDPOINTS = sendgrid.ENDPOINTS | loops.ENDPOINTS | emarsys.ENDPOINTS
#: Jobs finish within this long of being due even if nobody asks.
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sandbox:
    app: Starlette
    gate: TrafficMiddleware


def sandbox(*, keys: Collection[str] = (), dials: Mapping[str, Any] | None = None) -> Sandbox:
    """Build the application. `keys` are the only bearer keys that SendGrid and Loops accept, if there are any; `dials`
    are the positions to start with, and what a reset returns to."""
    limits = {endpoint: Limit(*limit) for endpoint, limit in LIMITS.items()}
    board = Dials(TrafficDials(limits=limits), SendGridDials(), LoopsDials(), EmarsysDials(), endpoints=ENDPOINTS)
    journal, chance, accepted = Journal(), RandomSource(0), frozenset(keys)
    team, customer = loops.Loops(board, accepted), emarsys.Emarsys(board)
    platforms: list[Platform] = [sendgrid.SendGrid(board, chance, accepted), team, customer]
    gate = TrafficMiddleware(platforms, board, journal, chance)
    seeds = {team.default_account: team.seed, customer.default_account: customer.seed}
    control = AdminApi(board, journal, gate, platforms, chance, seeds)
    control.change(dials or {})
    board.start_from_here()
    chance.seed(board.traffic.seed)

    @contextlib.asynccontextmanager
    async def ticking(_: Starlette) -> AsyncIterator[None]:
        ticker = asyncio.create_task(_tick(control))
        try:
            yield
        finally:
            ticker.cancel()

    routes = [Mount("/sandbox", routes=control.routes()), Mount("", app=gate)]
    return Sandbox(Starlette(routes=routes, lifespan=ticking), gate)


async def _tick(control: AdminApi) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        control.advance()
