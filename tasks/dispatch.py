"""`contacts.dispatch DESTINATION`: send due batches while the limit permits, for about a second."""

from celery import shared_task

from tasks.bells import ring
from worker.wiring import wired


@shared_task(name="contacts.dispatch")
def dispatch(destination: str) -> None:
    ring(wired().site(destination).delivery.stretch(destination))
