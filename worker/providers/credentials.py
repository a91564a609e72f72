"""What every account at a platform needs checked: its key, its address, and a name by which limits are shared.

No message quotes a key or an address.
"""

import re
from hashlib import blake2b
from typing import Literal
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from contact_ingest.errors import SettingError

#: What becomes of a custom field that the account lacks.
UnknownFields = Literal["refuse", "drop", "create"]
HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def checked_key(key: SecretStr) -> str:
    """A key without the blanks around it. Raises `SettingError`."""
    text = key.get_secret_value().strip()
    if not HEADER_TEXT.fullmatch(text):
        raise SettingError("api_key", "is empty or holds characters that no key has")
    return text


def checked_url(text: str) -> str:
    """The base of a platform's addresses, without a slash at its end. Raises `SettingError`."""
    try:
        url = urlsplit(text)
        sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        sound = False
    if not sound or url.username or url.password or url.query or url.fragment:
        raise SettingError("base_url", "must be http(s)://host[:port] without user, query or fragment")
    return text.rstrip("/")


def account_name(*parts: str) -> str:
    """Names an account by all that makes it another one, and betrays none of that."""
    return blake2b(orjson.dumps(parts), digest_size=8).hexdigest()
