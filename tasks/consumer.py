"""Celery's consumer, but for one thing: while the broker is a Redis whose memory is full, it tries once a second.

Celery would try several times a second, each with a page in the log, and what makes room is not the consumer but the
standby beside the ticker.
"""

import logging
import time

from celery.worker.consumer import Consumer

from contact_ingest.tasks.notify import is_full

log = logging.getLogger("contact_ingest.consumer")

TRY_AGAIN_S = 1.0


class PatientConsumer(Consumer):  # type: ignore[misc]
    def on_connection_error_before_connected(self, exc: Exception) -> None:
        if not wait_for_room(exc):
            super().on_connection_error_before_connected(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        wait_for_room(exc)


def wait_for_room(problem: Exception) -> bool:
    if not is_full(problem):
        return False
    log.warning("the broker's memory is full: its messages wait")
    time.sleep(TRY_AGAIN_S)
    return True
