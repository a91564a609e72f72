"""`contacts.poll DESTINATION`: ask about due imports, and fetch error files, for about a second."""

from celery import shared_task

from tasks.bells import Heard, ring, site_named


@shared_task(name="contacts.poll", base=Heard)
def poll(destination: str) -> None:
    if site := site_named("contacts.poll", destination):
        ring(site.tracking.stretch(destination))
