"""Redis URLs: the check, the form that kombu takes, and the form without password for display.

Nothing here connects. No message quotes a URL, because any part of a misspelt URL may be a piece of the password.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from contact_ingest.errors import SettingError

#: Options that a Redis URL may have after its question mark. Other options could change how connections behave.
REDIS_OPTIONS = ("db", "username", "password", "ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def is_redis(url: str) -> bool:
    """Whether a URL means a Redis server: redis, rediss, unix or sentinel, cluster included."""
    return url.startswith(("redis", "unix:", "sentinel:"))


def check_redis_url(name: str, url: str) -> None:
    """Raises `SettingError` for setting `name` if the URL cannot be read, or means a server that is not supported."""
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        readable = parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise SettingError(name, "cannot be read; write special characters of a password as %XX: / is %2F, # is %23")
    if parts.scheme in ("sentinel", "redis+sentinel", "rediss+sentinel"):
        raise SettingError(name, "Sentinel addresses are not supported; give the address that follows the master")
    if parts.scheme in ("redis+cluster", "rediss+cluster"):
        raise SettingError(name, "Redis Cluster addresses are not supported; give a single server or its proxy")
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise SettingError(name, "the address must begin with redis://, rediss:// or unix://")
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise SettingError(name, "what follows the host must be the number of a database, as in redis://host:6379/0")
    if parts.fragment or any(option not in REDIS_OPTIONS for option in options):
        raise SettingError(name, f"has an option that is none of {', '.join(REDIS_OPTIONS)}")
    _check_certificates(name, parts.scheme, {option: values[0] for option, values in options.items()})


def _check_certificates(name: str, scheme: str, options: Mapping[str, str]) -> None:
    if scheme == "rediss" and options.get("ssl_cert_reqs", "required").lower() != "required":
        raise SettingError(name, "certificates must be required; remove ssl_cert_reqs and give ssl_ca_certs=FILE")
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option in options and scheme != "rediss":
            raise SettingError(name, f"{option} means something for rediss:// only")
        if option in options and not Path(options[option]).is_file():
            raise SettingError(name, f"there is no file at {option}")


def for_kombu(url: str) -> str:
    """The same URL as kombu writes it: `unix:/tmp/r.sock?db=1` becomes `redis+socket:/tmp/r.sock?virtual_host=1`."""
    if not url.startswith("unix:"):
        return url
    address, _, query = url.partition("?")
    number = parse_qs(query).get("db", ["0"])[0]
    return f"{address.replace('unix:', 'redis+socket:', 1)}?virtual_host={number}"


def masked(url: str) -> str:
    """A URL for display: `rediss://***@redis.example:6379/0`. User, password and options are left out."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{host}{parts.path}"
