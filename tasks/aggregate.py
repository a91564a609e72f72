"""`contacts.aggregate LANE`: pack the held and waiting records of a lane into batches."""

from celery import shared_task

from contact_ingest.tasks.notify import StrictTask, notify, runtime_of_lane


@shared_task(name="contacts.aggregate", base=StrictTask)
def aggregate(lane: str) -> None:
    if runtime := runtime_of_lane("contacts.aggregate", lane):
        notify(runtime.aggregator.aggregate(lane))
