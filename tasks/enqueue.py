"""`contacts.enqueue RECORD-or-LIST`: the door for producers that share only the broker.

It is the one message that carries records, and that has a price: they lie in the broker in clear until a worker takes
them, the broker may lose a message between its pop and our script, and a record refused at the door is only counted in
a log line. `worker.enqueue` has none of this. A message delivered twice is counted once: its task id is the call id.
"""

import logging
from typing import Any

from celery import shared_task

from tasks.bells import Heard, ignore, shown
from worker import enqueue as put
from worker.errors import SettingError

log = logging.getLogger("worker.intake")


class Redacted(Heard):
    """Celery copies a task's arguments into message headers, logs and events: these say nothing."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, kwargs, **{**options, "argsrepr": "(redacted)", "kwargsrepr": "(redacted)"})


@shared_task(name="contacts.enqueue", bind=True, base=Redacted)
def enqueue(
    self: Any,
    records: Any,
    to: str | None = None,
    list_ids: Any = None,
    key: str | None = None,
) -> None:
    if not isinstance(records, dict | list) or not isinstance(list_ids, list | None) or not _is_text(to, key):
        ignore(self.name, "arguments of other types than it takes")
        return
    try:
        receipt = put(records, to=to, list_ids=tuple(list_ids or ()), key=key or self.request.id)
    except SettingError as wrong:
        ignore(self.name, f"{wrong.name if to is None else f'to={shown(to)}'} is wrong")
        return
    if receipt.refused_count:
        log.warning("records refused", extra={"lane": receipt.lane, "refused": receipt.refused_count})


def _is_text(*given: object) -> bool:
    return all(isinstance(text, str | None) for text in given)
