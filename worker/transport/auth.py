"""Credentials of one platform account: every request is signed right before it goes out.

A platform with tokens (OAuth) has one token an account. All workers share the token through Redis, where it expires. A
reply with status 401 means that the platform did not act on the request: the client gets another token and sends the
request once more.
"""

import secrets
import time

import orjson
from redis.exceptions import RedisError

from contact_ingest.errors import BUGS, FateUnknown, NoToken
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.verdicts import Stop
from contact_ingest.providers.base import Provider, SigningContext, Token
from contact_ingest.store.schedule import Schedule
from contact_ingest.store.scripts import Store
from contact_ingest.transport.client import HttpClient


class AuthenticatedClient:
    """An `HttpClient` that signs the requests to one platform account."""

    def __init__(self, http_client: HttpClient, provider: Provider, store: Store) -> None:
        self._http_client = http_client
        self._provider = provider
        self._store = store
        self._schedule = Schedule(store)

    def exchange(self, request: Request, *, deadline_s: float) -> Response:
        """Send a signed request and read the reply. `deadline_s` covers everything, a new token and a second try
        included. Raises `NotSent`, `NoToken` or `FateUnknown`."""
        ends_s = time.monotonic() + deadline_s
        if request.public_only:
            # The platform's reply named this URL. No credentials go there.
            return self._http_client.exchange(request, deadline_s=deadline_s)
        token = self._token(ends_s)
        response = self._send(request, token, ends_s)
        if response.status != 401 or not token:
            return response
        return self._send(request, self._renewed(token, ends_s), ends_s)

    def close(self) -> None:
        self._http_client.close()

    def _send(self, request: Request, token: str, ends_s: float) -> Response:
        signing = SigningContext(token, self._now_s(), secrets.token_hex(16))
        return self._http_client.exchange(self._provider.sign(request, signing), deadline_s=_left(ends_s))

    def _now_s(self) -> float:
        """Unix time for the signature, by the clock of Redis. Replies are read by the same clock, so a platform that
        rejects the time can be recognised. Only the doctor sends requests while Redis does not answer; the doctor
        uses this machine's clock then."""
        try:
            return self._schedule.wall_ms() / 1000
        except RedisError:
            return time.time()

    def _token(self, ends_s: float) -> str:
        if self._provider.token_request() is None:
            return ""
        return self._stored() or self._fetch(ends_s)

    def _renewed(self, refused: str, ends_s: float) -> str:
        """A token other than `refused`. Another worker may have stored one already."""
        stored = self._stored()
        return stored if stored and stored != refused else self._fetch(ends_s)

    def _stored(self) -> str:
        found = self._store.client.get(self._store.keys("access_token"))
        return "" if found is None else str(orjson.loads(found))

    def _fetch(self, ends_s: float) -> str:
        request = self._provider.token_request()
        assert request is not None
        try:
            given = self._provider.read_token(self._http_client.exchange(request, deadline_s=_left(ends_s)))
        except FateUnknown as problem:
            # Only the fate of the token request is unknown. The request that needs the token has not been sent.
            raise NoToken(f"token_{problem.reason}") from None
        except BUGS:
            raise NoToken("token_internal") from None
        if not isinstance(given, Token):
            raise NoToken("token_refused" if isinstance(given, Stop) else "token", refused=isinstance(given, Stop))
        lasts_ms = max(1_000, round(given.lasts_s * 1000))
        self._store.run("write", "none", "PSETEX", "access_token", lasts_ms, orjson.dumps(given.value))
        return given.value


def _left(ends_s: float) -> float:
    return max(0.0, ends_s - time.monotonic())
