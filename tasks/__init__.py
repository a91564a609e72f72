"""The Celery tasks: one file a task, named as the stage of the pipeline that it starts.

`celery -A tasks worker` works in a checkout, `celery -A contact_ingest.tasks worker` in an install. Both names lead to
the one app of `contact_ingest.tasks.celery`, which reads the settings only when it is asked for.
"""

import sys
from importlib import import_module
from typing import Any

from contact_ingest.config.extras import install_hint


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    try:
        return import_module("contact_ingest.tasks.celery").app  # here: the settings are read when a worker starts
    except ModuleNotFoundError as problem:
        hint = install_hint(problem)
        if hint is None:
            raise
        # Celery would wrap the exception into a page of its own; one line says what to do.
        sys.stderr.write(f"{hint}\n")
        raise SystemExit(2) from None
