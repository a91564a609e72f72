"""`contacts.poll DESTINATION`: ask the platform about due imports and fetch error files, for about a second."""

from celery import shared_task

from contact_ingest.tasks.notify import StrictTask, notify, runtime_named


@shared_task(name="contacts.poll", base=StrictTask)
def poll(destination: str) -> None:
    if runtime := runtime_named("contacts.poll", destination):
        notify(runtime.poller.run_for_slice(destination))
