"""`contacts.retry DESTINATION`: put failed records back in front of their lanes. Everything else narrows."""

from celery import shared_task

from worker.replay import Which
from worker.wiring import wired


@shared_task(name="contacts.retry")
def retry(destination: str, code: str | None = None, batch: int | None = None, lane: str | None = None) -> None:
    wired().site(destination).replay.retry(Which(code=code, batch=batch, lane=lane))
