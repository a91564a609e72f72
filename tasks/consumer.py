"""Celery's consumer, changed in two ways.

While the broker is a Redis whose memory is full, the consumer tries once a second. Celery tries several times a second
and logs a traceback each time. The local runner makes room meanwhile, not the consumer.

Gossip and mingle are off. Workers share nothing but Redis, so no worker needs to know of another, and with gossip each
event of each worker would go to all others.
"""

import logging
import time
from typing import Any

from celery.worker.consumer import Consumer

from contact_ingest.tasks.notify import is_full

log = logging.getLogger(__name__)

TRY_AGAIN_S = 1.0


class PatientConsumer(Consumer):  # type: ignore[misc]
    """The consumer of every worker, whatever its broker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "without_gossip": True, "without_mingle": True})

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        if not wait_for_room(exc):
            super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        wait_for_room(exc)


def wait_for_room(problem: Exception) -> bool:
    """Wait a second if the broker's memory is full; returns whether it is."""
    if not is_full(problem):
        return False
    log.warning("the broker's memory is full: its messages wait")
    time.sleep(TRY_AGAIN_S)
    return True
