"""Contact ingest: raw contact records in, platform imports followed to their end.

    from contact_ingest import enqueue

    enqueue({"email": "ann@example.com", "first_name": "Ann"})

Nothing is imported before it is used: `import contact_ingest` costs nothing, and a producer that calls `enqueue` loads
redis, orjson and the settings, but no Celery and no HTTP client. `__init__.pyi` beside this file gives the names their
types.
"""

from importlib import import_module
from typing import Any

_PRODUCER, _ENQUEUE = "contact_ingest.pipeline.producer", "contact_ingest.pipeline.enqueue"
_ERRORS = "contact_ingest.errors"
#: Every public name, and the module that it comes from.
_HOME = {
    **dict.fromkeys(("aclose", "aenqueue", "cancel", "enqueue"), _PRODUCER),
    **dict.fromkeys(("Receipt", "RefusedRecord"), _ENQUEUE),
    **dict.fromkeys(("IdempotencyKeyReused", "IngestError", "IntakeError", "LaneFull"), _ERRORS),
    **dict.fromkeys(("ForeignReceipt", "SettingError", "StoreUnavailable"), _ERRORS),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
