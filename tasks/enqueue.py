"""`contacts.enqueue RECORD-or-LIST`: the door for producers that share only the broker.

It is the one message that carries records, and that has a price: they lie in the broker in clear until a worker takes
them, the broker may lose a message between its pop and our script, and a record refused at the door is only counted in
a log line. `worker.enqueue` has none of this. A message delivered twice is counted once: its task id is the call id.
"""

import logging
import time
from typing import Any

from celery import Task, shared_task
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from tasks.bells import is_full
from worker import IntakeError
from worker import enqueue as put

log = logging.getLogger("worker.intake")

#: How long a message waits in a worker each time it comes by, in seconds; and where its broker has no room for it.
HERE_S, WITHOUT_BROKER_S = 0.25, 30.0


class Redacted(Task):  # type: ignore[misc]
    """Celery copies a task's arguments into message headers, logs and events: these say nothing."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **{**options, "argsrepr": "(redacted)", "kwargsrepr": "(redacted)"})


@shared_task(name="contacts.enqueue", bind=True, base=Redacted)
def enqueue(  # noqa: PLR0913 - what a message may say
    self: Any,
    records: dict[str, Any] | list[dict[str, Any]],
    to: str | None = None,
    list_ids: list[str] | None = None,
    key: str | None = None,
    *,
    wait_s: float = 0,
    until_s: float | None = None,
) -> None:
    """`wait_s`: while there is no room, for so long from the first try on, the message goes to the end of its queue
    again. It does not wait here, since what makes room may need this worker. `until_s` is when that ends, by the
    clock."""
    until_s = time.time() + wait_s if until_s is None else until_s
    calls: dict[str, Any] = {"to": to, "list_ids": tuple(list_ids or ()), "key": key or self.request.id}
    try:
        receipt = put(records, **calls, wait_s=_left_s(until_s, HERE_S))
    except IntakeError:
        if not _left_s(until_s, 1):
            raise
        try:
            self.apply_async((records,), {**calls, "until_s": until_s}, ignore_result=True)
        except (OutOfMemoryError, OperationalError) as problem:
            if not is_full(problem):
                raise
            # This message is all there is of the records, and the standby makes room while workers wait.
            receipt = put(records, **calls, wait_s=_left_s(until_s, WITHOUT_BROKER_S))
        else:
            return
    if receipt.refused_count:
        log.warning("records refused", extra={"lane": receipt.lane, "refused": receipt.refused_count})


def _left_s(until_s: float, most_s: float) -> float:
    return max(0.0, min(most_s, until_s - time.time()))
