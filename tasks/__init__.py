"""The Celery tasks: one file a task, named as the stage of the pipeline that it starts.

`celery -A tasks worker` works in a checkout, `celery -A contact_ingest.tasks worker` in an install. Both names lead to
the one app of `contact_ingest.tasks.celery`, which reads the settings only when it is asked for.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from contact_ingest.tasks.celery import app  # noqa: PLC0415 - the settings are read when a worker starts

    return app
