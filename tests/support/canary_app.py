"""A Celery app as Celery's defaults would have it, for the canaries: late and early acknowledgement side by side.

Its tasks carry nothing of the product; they count their runs in Redis and wait until they are let go.
"""

import os
import signal
import time
from typing import Any

from celery import Celery
from redis import Redis

BROKER = os.environ.get("CANARY_BROKER", "redis://127.0.0.1:1/0")
#: Counts are kept elsewhere, so that a restart of the broker does not disturb them.
NOTES = os.environ.get("CANARY_NOTES", BROKER)

app = Celery("canary", broker=BROKER)
app.conf.update(
    task_ignore_result=True,
    task_default_queue="canary",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 300},
)


def _run(name: str) -> None:
    """Count a run, then last until told otherwise."""
    with Redis.from_url(NOTES) as notes:
        notes.incr(f"runs:{name}")
        gives_up_s = time.monotonic() + 30
        while not notes.exists("let go") and time.monotonic() < gives_up_s:
            time.sleep(0.02)
        notes.incr(f"ends:{name}")


@app.task(name="canary.late", acks_late=True)
def late(name: str) -> None:
    _run(name)


@app.task(name="canary.early")
def early(name: str) -> None:
    _run(name)


@app.task(name="canary.dies", acks_late=True, reject_on_worker_lost=True)
def dies(name: str) -> Any:
    with Redis.from_url(NOTES) as notes:
        notes.incr(f"runs:{name}")
    os.kill(os.getpid(), signal.SIGKILL)
