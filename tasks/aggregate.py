"""`contacts.aggregate LANE`: cut what waits in a lane into bodies."""

from celery import shared_task

from tasks.bells import Heard, ring, site_of_lane


@shared_task(name="contacts.aggregate", base=Heard)
def aggregate(lane: str) -> None:
    if site := site_of_lane("contacts.aggregate", lane):
        ring(site.aggregation.aggregate(lane))
