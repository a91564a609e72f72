"""`contacts.retry DESTINATION`: put failed records back into their lanes, in front of what waits. The other arguments
restrict the retry to a failure code, a batch or a lane."""

from celery import shared_task

from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.tasks.notify import StrictTask, runtime_named


@shared_task(name="contacts.retry", base=StrictTask)
def retry(destination: str, code: str | None = None, batch: int | None = None, lane: str | None = None) -> None:
    if runtime := runtime_named("contacts.retry", destination):
        runtime.retrier.retry(FailureFilter(code=code, batch=batch, lane=lane))
