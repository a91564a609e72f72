"""`contacts.enqueue RECORD-or-LIST`: enqueue for producers that reach only the broker.

This is the only message that carries records. The price: the records lie in the broker in clear until a worker takes
them, the broker may lose a message between its pop and our script, and a refused record is only counted in a log line.
`contact_ingest.enqueue` has none of these drawbacks.

A message that is delivered twice is counted once: without a `key`, its task id is the call id. A message with other
records under a used key is ignored, and a log line says so.
"""

import logging
import time
from typing import Any

from celery import shared_task
from celery.worker.request import Request
from kombu.exceptions import OperationalError
from redis.exceptions import OutOfMemoryError

import contact_ingest
from contact_ingest import IntakeError, Receipt
from contact_ingest.errors import IdempotencyKeyReused, SettingError
from contact_ingest.model.arguments import check_key, check_wait_s
from contact_ingest.tasks.notify import StrictTask, ignore, is_full, shown

log = logging.getLogger(__name__)

#: What stands for the arguments of a message.
REDACTED = "(redacted)"
#: How long a message waits for room if it does not say so itself: one day. Nobody would hear that it was refused.
WAIT_S = 86_400.0
#: How long one run of the task waits for room; and how long when the broker cannot take the message back.
WAIT_HERE_S, WAIT_WITHOUT_BROKER_S = 0.25, 30.0


class RedactedRequest(Request):  # type: ignore[misc]
    """A message at a worker, as `celery inspect` and the worker's log show it: without its arguments, whoever sent it
    and whatever it wrote into the message's headers."""

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002 - the interface of Celery
        return {**super().info(safe=True), "args": REDACTED, "kwargs": REDACTED}


class Redacted(StrictTask):
    """A task whose arguments Celery copies neither into message headers, logs and events nor into what `celery inspect`
    shows."""

    Request = f"{RedactedRequest.__module__}:{RedactedRequest.__qualname__}"

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **{**options, "argsrepr": REDACTED, "kwargsrepr": REDACTED})


@shared_task(name="contacts.enqueue", bind=True, base=Redacted)
def enqueue(  # noqa: PLR0913 - the parameters are the public interface of the message
    self: Any,
    records: Any,
    to: str | list[str] | dict[str, Any] | None = None,
    list_ids: Any = None,
    key: str | None = None,
    *,
    wait_s: float = WAIT_S,
    until_s: float | None = None,
) -> None:
    """Put the records into their lane. While the lane has no room, the message goes to the end of its queue again, for
    `wait_s` from its first run on. `until_s` is the end of that time in Unix time; only this task sets it.

    The task itself does not wait for long, because what makes room may need this worker."""
    typed: Any = ((records, dict | list), (list_ids, list | None), (to, str | list | dict | None))
    if not all(isinstance(value, kind) for value, kind in typed):
        ignore(self.name, "arguments of other types than it takes")
        return
    try:
        check_key(key)
        ends_s = time.time() + check_wait_s(wait_s) if until_s is None else until_s
        check_wait_s(max(0.0, ends_s - time.time()), "until_s")
    except (SettingError, TypeError) as wrong:
        ignore(self.name, str(wrong) if isinstance(wrong, SettingError) else "until_s must be a number")
        return
    options: dict[str, Any] = {"to": to, "list_ids": tuple(list_ids or ()), "key": key or self.request.id}
    try:
        receipts = _enqueue_or_send_again(self, records, options, ends_s)
    except SettingError as wrong:
        ignore(self.name, f"{wrong.name if to is None else f'to={shown(to)}'} is wrong")
    except IdempotencyKeyReused as reused:
        ignore(self.name, str(reused))
    else:
        for receipt in receipts:
            if receipt.refused_count:
                log.warning("records refused", extra={"lane": receipt.lane, "refused": receipt.refused_count})


def _enqueue_or_send_again(task: Any, records: Any, options: dict[str, Any], until_s: float) -> list[Receipt]:
    """The receipts; none if there is no room yet and the message is on its way again. Raises `IntakeError` once the
    message's time is over."""
    try:
        return _enqueue(records, options, _left_s(until_s, WAIT_HERE_S))
    except IdempotencyKeyReused:
        raise
    except IntakeError:
        if not _left_s(until_s, 1):
            raise
    try:
        task.apply_async((records,), {**options, "until_s": until_s}, ignore_result=True)
    except (OutOfMemoryError, OperationalError) as problem:
        if not is_full(problem):
            raise
        # This message is all there is of the records. The local runner makes room while this task waits.
        return _enqueue(records, options, _left_s(until_s, WAIT_WITHOUT_BROKER_S))
    return []


def _enqueue(records: Any, options: dict[str, Any], wait_s: float) -> list[Receipt]:
    made = contact_ingest.enqueue(records, **options, wait_s=wait_s)
    return list(made.values()) if isinstance(made, dict) else [made]


def _left_s(until_s: float, most_s: float) -> float:
    return max(0.0, min(most_s, until_s - time.time()))
