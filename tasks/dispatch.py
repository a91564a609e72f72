"""`contacts.dispatch DESTINATION`: send due batches while the limit permits, for about a second."""

from celery import shared_task

from tasks.bells import Heard, ring, site_named


@shared_task(name="contacts.dispatch", base=Heard)
def dispatch(destination: str) -> None:
    if site := site_named("contacts.dispatch", destination):
        ring(site.delivery.stretch(destination))
