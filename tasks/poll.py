"""`contacts.poll DESTINATION`: ask about one due import, or fetch its error file."""

from celery import shared_task

from tasks.bells import Heard, ring, site_named


@shared_task(name="contacts.poll", base=Heard)
def poll(destination: str) -> None:
    if site := site_named("contacts.poll", destination):
        ring(site.tracking.poll(destination))
