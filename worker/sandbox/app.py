"""The sandbox as one ASGI application: its own pages under /sandbox, and the platforms behind the middleware."""

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
#: A job that is due finishes within this time, even if no request arrives.
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sandbox:
    app: Starlette
    middleware: TrafficMiddleware


def build_sandbox(*, keys: Collection[str] = (), dials: Mapping[str, Any] | None = None) -> Sandbox:
    """Build the application.

    `keys` are the only bearer keys that SendGrid and Loops accept; without any, both accept every key. `dials` are the
    positions to start with, and those that a reset returns to.
    """
    limits = {endpoint: Limit(*limit) for endpoint, limit in LIMITS.items()}
    all_dials = Dials(TrafficDials(limits=limits), SendGridDials(), LoopsDials(), EmarsysDials(), endpoints=ENDPOINTS)
    journal, random_source, accepted = Journal(), RandomSource(0), frozenset(keys)
    team, customer = loops.Loops(all_dials, accepted), emarsys.Emarsys(all_dials)
    platforms: list[Platform] = [sendgrid.SendGrid(all_dials, random_source, accepted), team, customer]
    middleware = TrafficMiddleware(platforms, all_dials, journal, random_source)
    seeds = {team.default_account: team.seed, customer.default_account: customer.seed}
    admin_api = AdminApi(all_dials, journal, middleware, platforms, random_source, seeds)
    admin_api.change(dials or {})
    all_dials.keep_as_initial()
    random_source.seed(all_dials.traffic.seed)

    @contextlib.asynccontextmanager
    async def ticking(_: Starlette) -> AsyncIterator[None]:
        ticker = asyncio.create_task(_tick(admin_api))
        try:
            yield
        finally:
            ticker.cancel()

    routes = [Mount("/sandbox", routes=admin_api.routes()), Mount("", app=middleware)]
    return Sandbox(Starlette(routes=routes, lifespan=ticking), middleware)


async def _tick(admin_api: AdminApi) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        admin_api.advance()
