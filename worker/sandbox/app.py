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

from worker.sandbox.chance import Chance
from worker.sandbox.control import Control
from worker.sandbox.dials import Dials, Limit, TrafficDials
from worker.sandbox.gate import Gate
from worker.sandbox.journal import Journal
from worker.sandbox.sendgrid.dials import SendGridDials
from worker.sandbox.sendgrid.platform import ENDPOINTS, LIMITS, SendGrid

#: Jobs finish within this long of being due even if nobody asks.
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sandbox:
    app: Starlette
    gate: Gate


def sandbox(*, keys: Collection[str] = (), dials: Mapping[str, Any] | None = None) -> Sandbox:
    """Build the application. `keys` are the only ones accepted, if there are any; `dials` are the positions to start
    with, and what a reset returns to."""
    limits = {endpoint: Limit(*limit) for endpoint, limit in LIMITS.items()}
    board = Dials(TrafficDials(limits=limits), SendGridDials(), endpoints=ENDPOINTS)
    journal, chance = Journal(), Chance(0)
    platforms = [SendGrid(board, chance, frozenset(keys))]
    gate = Gate(platforms, board, journal, chance)
    control = Control(board, journal, gate, platforms, chance)
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


async def _tick(control: Control) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        control.advance()
