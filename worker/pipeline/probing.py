"""Asking whether a platform works again, with one cheap request: after an outage, and after a stop.

Whoever finds the breaker half-open asks; a stopped destination is asked by whoever claims the probe. No body goes out
before an answer has come.
"""

from contact_ingest.errors import TransportError
from contact_ingest.model.http_message import Response
from contact_ingest.pipeline.settle import Desk, in_trouble
from contact_ingest.store.batches import NoClaim
from contact_ingest.store.rate_limiter import Permit
from contact_ingest.store.schedule import WakeUp

#: When somebody else is asking just now, or the request that would ask has to wait itself.
ASKING_MS = 500


def wait_or_ask(desk: Desk, kind: str, permit: Permit, destination: str) -> tuple[WakeUp, ...]:
    """No permit was granted: everybody waits; unless it is time to ask, and the platform answers."""
    if permit.asks_first and _answers(desk.ask(desk.provider.probe())):
        desk.schedule.make_due_now()
        return (WakeUp(kind, destination),)
    desk.schedule.defer(kind, ASKING_MS if permit.asks_first else permit.wait_ms)
    return ()


def _answers(reply: Response | TransportError | None) -> bool:
    return isinstance(reply, Response) and not in_trouble(reply)


def probe(desk: Desk, kind: str, claim: NoClaim, destination: str) -> tuple[WakeUp, ...]:
    """A stopped destination is asked whether it accepts us again."""
    reply = desk.ask(desk.provider.probe())
    desk.batch_store.let_go(claim.token)
    if isinstance(reply, Response) and 200 <= reply.status < 300:
        desk.schedule.resume(None)
        return (WakeUp(kind, destination),)
    if reply is not None:
        state = desk.schedule.state()
        desk.schedule.stop(state.get("code", "stopped"), state.get("why", ""), probed=True)
    return ()
