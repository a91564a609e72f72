"""`contacts.poll DESTINATION`: ask the platform about due imports and fetch error files, for about a second."""

from celery import shared_task

from contact_ingest.tasks.notify import StrictTask, notify, runtime_named


@shared_task(name="contacts.poll", base=StrictTask)
def poll(destination: str) -> None:
    runtime = runtime_named("contacts.poll", destination)
    if runtime is not None and runtime.poller is not None:  # a platform without import jobs has nothing to poll
        notify(runtime.poller.run_for_slice(destination))
