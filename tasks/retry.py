"""`contacts.retry DESTINATION`: put failed records back in front of their lanes. Everything else narrows."""

from celery import shared_task

from tasks.bells import Heard, site_named
from worker.replay import Which


@shared_task(name="contacts.retry", base=Heard)
def retry(destination: str, code: str | None = None, batch: int | None = None, lane: str | None = None) -> None:
    if site := site_named("contacts.retry", destination):
        site.replay.retry(Which(code=code, batch=batch, lane=lane))
