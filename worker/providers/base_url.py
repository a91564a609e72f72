"""The base address of a platform: what stands before the paths that this program adds (`/v3/marketing/contacts`).

A wrong one is refused at the start, with the right one as the remedy. What means the same is accepted and written in
one way: slashes at the end, upper case in the host, the default port.

| setting | verdict |
|---|---|
| `https://api.sendgrid.com/`, `HTTPS://API.SendGrid.com:443` | `https://api.sendgrid.com` |
| `https://api.sendgrid.com/v3`, `https://gateway.example/mail/v3/` | refused: `/v3` is part of every path |
| `https://app.loops.so`, `http://app.loops.so/api` | refused: the platform's own host takes one address only |
| `https://gateway.example/v1/sendgrid` | accepted: a gateway may have paths and versions of its own |
| a query, a fragment, a user, `//` or `..` in the path | refused |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from contact_ingest.errors import SettingError
from contact_ingest.providers.credentials import checked_url


@dataclass(frozen=True, slots=True)
class BaseUrlRules:
    """What a platform's paths begin with, and which hosts are its own.

    `hosts` maps a host to the path that the base address has there: `{"app.loops.so": "/api"}`. `versions` are what the
    paths begin with, such as `v1`; `words` are what follows the version. `strangers` maps hosts that look alike to what
    they are.
    """

    hosts: Mapping[str, str]
    versions: frozenset[str]
    words: frozenset[str]
    strangers: Mapping[str, str]

    def checked(self, text: str) -> str:
        """The base address without a slash at its end. Raises `SettingError` that names the right one."""
        url = urlsplit(checked_url(text))
        host = url.hostname or ""
        if host in self.strangers:
            raise SettingError("base_url", f"must not be {host}: {self.strangers[host]}")
        if host in self.hosts and (url.scheme, url.netloc, url.path) != ("https", host, self.hosts[host]):
            raise SettingError("base_url", f"must be https://{host}{self.hosts[host]}")
        segments = url.path.lower().split("/")
        for place, segment in enumerate(segments):
            follows = segments[place + 1] if place + 1 < len(segments) else ""
            if segment in self.versions and (not follows or follows in self.words):
                raise SettingError(
                    "base_url",
                    f"must end before /{segment}, which is part of every path: leave out /{segment} and the rest",
                )
        return url.geturl()
