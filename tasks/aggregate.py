"""`contacts.aggregate LANE`: cut what waits in a lane into bodies."""

from celery import shared_task

from tasks.bells import ring
from worker.wiring import wired


@shared_task(name="contacts.aggregate")
def aggregate(lane: str) -> None:
    parts = wired()
    ring(parts.site(parts.destination_of(lane)).aggregation.aggregate(lane))
