"""`contacts.dispatch DESTINATION`: send one due batch, if the limit permits."""

from celery import shared_task

from tasks.bells import ring
from worker.wiring import wired


@shared_task(name="contacts.dispatch")
def dispatch(destination: str) -> None:
    ring(wired().site(destination).delivery.dispatch(destination))
