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

#: The characters of an address without a query and a fragment: printable ASCII without `?`, `#` and the backslash.
_URL_TEXT = re.compile(r"[!\"$->@-\[\]-~]+")
_PORTS = {"http": 80, "https": 443}


def checked_key(key: SecretStr) -> str:
    """The key without blanks at its ends. Raises `SettingError`."""
    text = key.get_secret_value().strip()
    if not HEADER_TEXT.fullmatch(text):
        raise SettingError("api_key", "is empty or holds characters that no key has")
    return text


def checked_url(text: str) -> str:
    """An address of a platform in its one form: scheme and host in lower case, no default port, no slash at the end,
    such as `https://api.sendgrid.com`. Raises `SettingError`."""
    try:
        url = urlsplit(text)
        port = url.port
        sound = url.scheme in _PORTS and bool(url.hostname) and port != 0 and _URL_TEXT.fullmatch(text) is not None
    except ValueError:
        sound = False
    if not sound or "@" in url.netloc:
        raise SettingError("base_url", "must be http(s)://host[:port][/path] without user, query, fragment or blanks")
    path = url.path.rstrip("/")
    if not {"", ".", ".."}.isdisjoint(path.split("/")[1:]):
        raise SettingError("base_url", "must not hold // or dots alone in its path")
    host = f"[{url.hostname}]" if ":" in str(url.hostname) else url.hostname
    return f"{url.scheme}://{host}{'' if port in (None, _PORTS[url.scheme]) else f':{port}'}{path}"


def checked_policy(unknown_fields: UnknownFields) -> UnknownFields:
    """Raises `SettingError`: settings come from a file, so the type alone promises nothing."""
    if unknown_fields not in get_args(UnknownFields):
        raise SettingError("unknown_fields", "must be refuse, drop or create")
    return unknown_fields


def account_name(*parts: str) -> str:
    """A digest that names an account by everything that tells it from another: 16 hexadecimal characters, from which
    neither key nor address can be read."""
    return blake2b(orjson.dumps(parts), digest_size=8).hexdigest()
