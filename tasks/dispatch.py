"""`contacts.dispatch DESTINATION`: send due batches while the rate limit permits, for about a second."""

from celery import shared_task

from contact_ingest.tasks.notify import StrictTask, notify, runtime_named


@shared_task(name="contacts.dispatch", base=StrictTask)
def dispatch(destination: str) -> None:
    if runtime := runtime_named("contacts.dispatch", destination):
        notify(runtime.dispatcher.run_for_slice(destination))
