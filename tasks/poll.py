"""`contacts.poll DESTINATION`: ask about one due import, or fetch its error file."""

from celery import shared_task

from tasks.bells import ring
from worker.wiring import wired


@shared_task(name="contacts.poll")
def poll(destination: str) -> None:
    ring(wired().site(destination).tracking.poll(destination))
