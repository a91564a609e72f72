"""`contacts.poll DESTINATION`: ask about due imports, and fetch error files, for about a second."""

from celery import shared_task

from tasks.bells import ring
from worker.wiring import wired


@shared_task(name="contacts.poll")
def poll(destination: str) -> None:
    ring(wired().site(destination).tracking.stretch(destination))
