"""Checks of the arguments of `enqueue`, `aenqueue` and `cancel`, before anything is enqueued.

Records, or a receipt, of the wrong kind raise `TypeError`. Every other wrong argument raises `SettingError`, which
begins with the argument's name. No message quotes a value.
"""

import io
from collections.abc import AsyncIterable, Iterable, Mapping
from numbers import Real
from typing import Any

from contact_ingest.errors import SettingError

#: Longest idempotency key, in characters. Redis keeps the key for a day.
LONGEST_KEY = 200
#: Longest `wait_s`: 30 days.
LONGEST_WAIT_S = 2_592_000.0
_RECORDS = "records must be one record (a mapping of field names to values) or an iterable of records"
#: Attributes that only a record or a table has: values of these classes can be iterated over, but give no records.
_RECORD_LIKE = {
    "model_dump": "give record.model_dump()",
    "__fields__": "give record.dict()",
    "_asdict": "give record._asdict()",
    "__dataclass_fields__": "give dataclasses.asdict(record)",
    "__attrs_attrs__": "give attrs.asdict(record)",
    "to_dict": "give its rows as mappings",
    "keys": "give dict(record)",
}


def check_records(records: object, *, takes_async: bool = False) -> None:
    """Raises `TypeError` for what is neither a record nor an iterable of records: a text, a file, a model, a row.

    Such a value would be taken apart: `enqueue("ann@example.com")` is 15 characters, each of which is no record."""
    if isinstance(records, Mapping | list):
        return
    kind = type(records).__name__
    if isinstance(records, str | bytes | bytearray | memoryview | io.IOBase | type):
        raise TypeError(f"{_RECORDS}, not {kind}")
    for attribute, remedy in _RECORD_LIKE.items():
        if hasattr(records, attribute):
            raise TypeError(f"{_RECORDS}, not {kind}: {remedy}")
    if isinstance(records, AsyncIterable):
        if not takes_async:
            raise TypeError(f"{_RECORDS}, not {kind}: aenqueue takes asynchronous iterables")
    elif not isinstance(records, Iterable):
        raise TypeError(f"{_RECORDS}, not {kind}")


def check_key(key: object, setting: str = "key") -> None:
    """Raises `SettingError` unless the idempotency key is None, or text that Redis can keep."""
    if key is None:
        return
    if not isinstance(key, str):
        raise SettingError(setting, f"must be text of 1 to {LONGEST_KEY} characters, not {type(key).__name__}")
    if not 0 < len(key) <= LONGEST_KEY:
        raise SettingError(setting, f"must be text of 1 to {LONGEST_KEY} characters, not of {len(key)}")
    if not key.isascii() and any("\ud800" <= char <= "\udfff" for char in key):
        raise SettingError(setting, "must be valid Unicode: it has half of a surrogate pair")


def check_wait_s(wait_s: object, setting: str = "wait_s") -> float:
    """The longest wait in seconds. Raises `SettingError` for what is no such number."""
    says = f"must be a number of seconds from 0 to {LONGEST_WAIT_S:,.0f}"
    if not isinstance(wait_s, int | float | Real) or isinstance(wait_s, bool):
        raise SettingError(setting, f"{says}, not {type(wait_s).__name__}")
    try:
        seconds = float(wait_s)
    except OverflowError:
        seconds = float("inf")
    if not 0 <= seconds <= LONGEST_WAIT_S:  # NaN is in no range
        raise SettingError(setting, says)
    return seconds


def check_callback(on_refused: object) -> None:
    """Raises `SettingError` unless it is None or can be called."""
    if on_refused is not None and not callable(on_refused):
        raise SettingError("on_refused", f"must be a function of one refused record, not {type(on_refused).__name__}")


def list_of(value: object, setting: str = "list_ids") -> tuple[Any, ...]:
    """The list ids of one call. Raises `SettingError` for a bare text, which would be taken apart."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple | set | frozenset):
        example = ': write ["..."] around one id' if isinstance(value, str) else ""
        raise SettingError(setting, f"must be a list of list ids, not {type(value).__name__}{example}")
    return tuple(value)


def options_by_destination(to: object) -> dict[str, Mapping[str, Any]]:
    """The destinations of a call for several, each with its lane options. Raises `SettingError`."""
    if not isinstance(to, list | tuple | Mapping):
        kinds = "the name of a destination, a list of names, or a mapping of names to lane options"
        raise SettingError("to", f"must be {kinds}, not {type(to).__name__}")
    if not to:
        raise SettingError("to", "is empty: name a destination")
    found: dict[str, Mapping[str, Any]] = {}
    for place, name in enumerate(to, 1):
        if not isinstance(name, str):
            raise SettingError("to", f"item {place} must be the name of a destination, not {type(name).__name__}")
        options = to[name] if isinstance(to, Mapping) else {}
        if not isinstance(options, Mapping) or not all(isinstance(option, str) for option in options):
            kind = type(options).__name__
            raise SettingError("to", f"item {place} must have a mapping of lane options by name, not {kind}")
        found[name] = options
    return found
