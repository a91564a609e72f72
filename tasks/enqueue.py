"""`contacts.enqueue RECORD-or-LIST`: the door for producers that share only the broker.

It is the one message that carries records, and that has a price: they lie in the broker in clear until a worker takes
them, the broker may lose a message between its pop and our script, and a record refused at the door is only counted in
a log line. `worker.enqueue` has none of this. A message delivered twice is counted once: its task id is the call id.
"""

import logging
import time
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

from contact_ingest import IntakeError, Receipt
from contact_ingest import enqueue as put
from contact_ingest.errors import SettingError
from contact_ingest.tasks.notify import StrictTask, ignore, is_full, shown

log = logging.getLogger("contact_ingest.pipeline.enqueue")

#: How long a message waits for room if it does not say: nobody is there to hear that it was refused.
PATIENCE_S = 86_400.0
#: How long a message waits in a worker each time it comes by, in seconds; and where its broker has no room for it.
HERE_S, WITHOUT_BROKER_S = 0.25, 30.0


class Redacted(StrictTask):
    """Celery copies a task's arguments into message headers, logs and events: these say nothing."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **{**options, "argsrepr": "(redacted)", "kwargsrepr": "(redacted)"})


@shared_task(name="contacts.enqueue", bind=True, base=Redacted)
def enqueue(  # noqa: PLR0913 - what a message may say
    self: Any,
    records: Any,
    to: str | None = None,
    list_ids: Any = None,
    key: str | None = None,
    *,
    wait_s: float = PATIENCE_S,
    until_s: float | None = None,
) -> None:
    """`wait_s`: while there is no room, for so long from the first try on, the message goes to the end of its queue
    again. It does not wait here, since what makes room may need this worker. `until_s` is when that ends, by the
    clock."""
    asked: Any = ((records, dict | list), (list_ids, list | None), (to, str | None), (key, str | None))
    asked += ((wait_s, int | float), (until_s, int | float | None))
    if not all(isinstance(given, kind) for given, kind in asked):
        ignore(self.name, "arguments of other types than it takes")
        return
    until_s = time.time() + wait_s if until_s is None else until_s
    calls: dict[str, Any] = {"to": to, "list_ids": tuple(list_ids or ()), "key": key or self.request.id}
    try:
        receipt = _put_or_send_again(self, records, calls, until_s)
    except SettingError as wrong:
        ignore(self.name, f"{wrong.name if to is None else f'to={shown(to)}'} is wrong")
        return
    if receipt is not None and receipt.refused_count:
        log.warning("records refused", extra={"lane": receipt.lane, "refused": receipt.refused_count})


def _put_or_send_again(task: Any, records: Any, calls: dict[str, Any], until_s: float) -> Receipt | None:
    """None if there is no room yet and the message is on its way again. Raises `IntakeError` once its time is over."""
    receipt: Receipt
    try:
        receipt = put(records, **calls, wait_s=_left_s(until_s, HERE_S))
    except IntakeError:
        if not _left_s(until_s, 1):
            raise
    else:
        return receipt
    try:
        task.apply_async((records,), {**calls, "until_s": until_s}, ignore_result=True)
    except (OutOfMemoryError, OperationalError) as problem:
        if not is_full(problem):
            raise
        # This message is all there is of the records, and the standby makes room while workers wait.
        receipt = put(records, **calls, wait_s=_left_s(until_s, WITHOUT_BROKER_S))
        return receipt
    return None


def _left_s(until_s: float, most_s: float) -> float:
    return max(0.0, min(most_s, until_s - time.time()))
