"""Log lines: one format for a terminal, one for machines; what is said is counts, names and ids, never contents."""

import logging
import sys
from datetime import UTC, datetime
from traceback import TracebackException
from typing import Any

import orjson

from contact_ingest.config.settings import Settings
from contact_ingest.errors import IngestError

#: Lines of a chain of exceptions; those further back are left out.
MOST_LINES = 300

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class SafeFormatter(logging.Formatter):
    """Where something went wrong, and what kind it was. What a stranger's exception says may quote a contact."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name for it
        lines: list[str] = []
        told: TracebackException | None = TracebackException(*ei)
        while told is not None and len(lines) < MOST_LINES:
            kind = told.exc_type
            said = str(told) if issubclass(kind, IngestError) else "(its text is not logged)"
            name = f"{kind.__module__}.{kind.__qualname__}"
            lines[:0] = ["Traceback (most recent call last):\n", *told.stack.format(), f"{name}: {said}\n"]
            told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
        return "".join(lines).rstrip()


class PlainLines(SafeFormatter):
    """`2026-11-22T08:00:00Z INFO contact_ingest.batches batch ended lane=newsletter rows=20000 ...`"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        extra = " ".join(f"{name}={value}" for name, value in _extra(record).items())
        line = f"{at} {record.levelname} {record.name} {record.getMessage()} {extra}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(SafeFormatter):
    """The same as one JSON object a line."""

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
    """Send the product's lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_json else PlainLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("contact_ingest").setLevel(settings.log_level)
    logging.getLogger("celery").setLevel(logging.INFO)
