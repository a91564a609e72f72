"""Credentials of one platform account: every request is signed right before it goes out.

A platform with tokens (OAuth) has one token an account. All workers share the token through Redis, where it expires. A
reply with status 401 means that the platform did not act on the request: the client gets another token and sends the
request once more.
"""

import secrets
import time

from redis.exceptions import RedisError

from contact_ingest.errors import FateUnknown, NoToken, TransportError, is_defect
from contact_ingest.model.failure_codes import FailureCode, token_code
from contact_ingest.model.http_message import Request, Response
from contact_ingest.model.verdicts import Stop
from contact_ingest.providers.base import Provider, SigningContext, Token, TokenAuth
from contact_ingest.store.account_cache import AccountCache
from contact_ingest.store.clock import Clock
from contact_ingest.store.scripts import Store
from contact_ingest.transport.client import HttpClient


class AuthenticatedClient:
    """An `HttpClient` that signs the requests to one platform account."""

    def __init__(self, http_client: HttpClient, provider: Provider, store: Store) -> None:
        self._http_client = http_client
        self._provider = provider
        self._tokens = provider if isinstance(provider, TokenAuth) else None
        self._cache = AccountCache(store)
        self._clock = Clock(store)

    def exchange(self, request: Request, *, deadline_s: float) -> Response:
        """Send a signed request and read the reply. `deadline_s` covers everything, a new token and a second try
        included. Raises `NotSent`, `NoToken` or `FateUnknown`."""
        ends_s = time.monotonic() + deadline_s
        if request.public_only:
            # The platform's reply named this URL. No credentials go there.
            return self._http_client.exchange(request, deadline_s=deadline_s)
        if self._tokens is None:
            return self._send(request, "", ends_s)
        token = self._stored() or self._fetch(self._tokens, ends_s)
        response = self._send(request, token, ends_s)
        if response.status != 401:
            return response
        return self._send(request, self._renewed(self._tokens, token, ends_s), ends_s)

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
            return self._clock.wall_ms() / 1000
        except RedisError:
            return time.time()

    def _renewed(self, tokens: TokenAuth, refused: str, ends_s: float) -> str:
        """A token other than `refused`. Another worker may have stored one already."""
        stored = self._stored()
        return stored if stored and stored != refused else self._fetch(tokens, ends_s)

    def _stored(self) -> str:
        return self._cache.token()

    def _fetch(self, tokens: TokenAuth, ends_s: float) -> str:
        try:
            given = tokens.read_token(self._http_client.exchange(tokens.token_request(), deadline_s=_left(ends_s)))
        except FateUnknown as problem:
            # Only the fate of the token request is unknown. The request that needs the token has not been sent.
            raise NoToken(token_code(problem.reason)) from None
        except TransportError:
            raise
        except Exception as problem:
            if not is_defect(problem):
                raise
            raise NoToken(token_code(FailureCode.INTERNAL)) from None
        if not isinstance(given, Token):
            is_refused = isinstance(given, Stop)
            raise NoToken(token_code("refused") if is_refused else FailureCode.NO_TOKEN, refused=is_refused)
        self._cache.keep_token(given.value, given.lasts_s)
        return given.value


def _left(ends_s: float) -> float:
    return max(0.0, ends_s - time.monotonic())
