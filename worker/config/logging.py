"""The format of log lines: plain text for people, or JSON for machines (CONTACT_INGEST_LOG_JSON).

Log lines hold counts, names and ids. They never hold a contact's data, and neither does the text of an exception.
"""

import logging
import sys
from datetime import UTC, datetime
from traceback import TracebackException
from typing import Any

import orjson

from contact_ingest.config.settings import Settings
from contact_ingest.errors import IngestError

#: Most lines of a traceback. The older exceptions of a longer chain are left out.
MOST_LINES = 300

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class SafeFormatter(logging.Formatter):
    """A traceback without the exceptions' texts, which may quote a contact. The texts of our own exceptions
    (`IngestError`) are written: they never hold data of a contact."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name for it
        lines: list[str] = []
        chained: TracebackException | None = TracebackException(*ei)
        while chained is not None and len(lines) < MOST_LINES:
            kind = chained.exc_type
            text = str(chained) if issubclass(kind, IngestError) else "(its text is not logged)"
            name = f"{kind.__module__}.{kind.__qualname__}"
            lines[:0] = ["Traceback (most recent call last):\n", *chained.stack.format(), f"{name}: {text}\n"]
            chained = chained.__cause__ or (None if chained.__suppress_context__ else chained.__context__)
        return "".join(lines).rstrip()


class PlainFormatter(SafeFormatter):
    """`2026-11-22T08:00:00.000Z INFO contact_ingest.batches batch ended lane=newsletter rows=20000 ...`"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        line = f"{at} {record.levelname} {record.name} {record.getMessage()} {extra}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(SafeFormatter):
    """`{"at":"2026-11-22T08:00:00.000+00:00","level":"INFO","logger":"contact_ingest.batches","message":"batch ended",
    "lane":"newsletter",...}`, one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure(settings: Settings) -> None:
    """Write log lines to standard error, in the format and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_json else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("contact_ingest").setLevel(settings.log_level)
    logging.getLogger("celery").setLevel(logging.INFO)
