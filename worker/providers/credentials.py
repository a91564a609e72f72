"""The settings that every platform's account has: its key, its base address, its policy for unknown fields.

No message quotes a key or an address.
"""

import re
from hashlib import blake2b
from typing import get_args
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.providers.base import UnknownFields

#: Text that can stand in an HTTP header: printable ASCII, without a blank at either end.
HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def checked_key(key: SecretStr) -> str:
    """The key without blanks at its ends. Raises `SettingError`."""
    text = key.get_secret_value().strip()
    if not HEADER_TEXT.fullmatch(text):
        raise SettingError("api_key", "is empty or holds characters that no key has")
    return text


def checked_url(text: str) -> str:
    """A platform's base address, such as `https://api.sendgrid.com`, without a slash at its end. Raises
    `SettingError`."""
    try:
        url = urlsplit(text)
        sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or url.username or url.password or url.query or url.fragment:
        raise SettingError("base_url", "must be http(s)://host[:port] without user, query or fragment")
    return text.rstrip("/")


def checked_policy(unknown_fields: UnknownFields) -> UnknownFields:
    """Raises `SettingError`: settings come from a file, so the type alone promises nothing."""
    if unknown_fields not in get_args(UnknownFields):
        raise SettingError("unknown_fields", "must be refuse, drop or create")
    return unknown_fields


def account_name(*parts: str) -> str:
    """A digest that names an account by everything that tells it from another: 16 hexadecimal characters, from which
    neither key nor address can be read."""
    return blake2b(orjson.dumps(parts), digest_size=8).hexdigest()
