"""Credentials for Emarsys: OAuth2 client credentials (v3 of its interface) or a WSSE user (v2), and how each signs.

With OAuth a request carries an access token, which the engine fetches and shares. With WSSE every request carries a
header of its own. Time and random characters come in as a `SigningContext`: there is no clock and no randomness here.
WSSE ends on 2026-12-31; OAuth is the default.

Sources: the official v3 and v2 Postman collections, the developer documentation on authentication; checked 2026-11-22.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.failure_codes import FailureCode, token_code
from contact_ingest.model.http_message import Request, Response, rate_headers
from contact_ingest.model.verdicts import Limited, Retry, Stop
from contact_ingest.providers.base import SigningContext, Token
from contact_ingest.providers.credentials import HEADER_TEXT, checked_url
from contact_ingest.providers.http_status import is_from_between
from contact_ingest.providers.json_guard import decode

TOKEN_URL = "https://auth.emarsys.net/oauth2/token"  # noqa: S105 - an address
#: A token is not used any more this many seconds before it expires.
MARGIN_S = 60.0
#: Lifetime in seconds where the reply gives none. Emarsys documents none: a short one costs a request, a long
#: one a 401.
UNKNOWN_LIFE_S = 300.0
#: Longest lifetime that is believed, in seconds.
LONGEST_LIFE_S = 86_400.0
#: How many seconds a WSSE time may be off. "Within 5 minutes of server time." Source: developer documentation on
#: authentication, checked 2026-11-22.
CLOCK_TOLERANCE_S = 300.0

_TRY_AGAIN = frozenset({408, 409, 423, 425})


@dataclass(frozen=True, slots=True, repr=False)
class OAuth:
    """OAuth2 client credentials; a tenant of SAP Cloud Identity has its own token address. Raises `SettingError`."""

    client_id: SecretStr
    client_secret: SecretStr
    token_url: str = TOKEN_URL

    version = "v3"

    def __post_init__(self) -> None:
        user = _plain("client_id", self.client_id)
        if ":" in user:
            raise SettingError("client_id", "holds a colon, which HTTP Basic has no place for")
        _plain("client_secret", self.client_secret)
        try:
            checked_url(self.token_url)
        except SettingError as wrong:
            raise SettingError("token_url", wrong.problem) from None

    @property
    def user(self) -> str:
        return self.client_id.get_secret_value()

    def token_request(self) -> Request:
        pair = f"{self.user}:{self.client_secret.get_secret_value()}".encode()
        headers = {
            "authorization": f"Basic {base64.b64encode(pair).decode()}",
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
        }
        return Request("POST", self.token_url, "token", headers, [b"grant_type=client_credentials"])

    def sign(self, request: Request, signing: SigningContext) -> Request:
        return _with_header(request, "authorization", f"Bearer {signing.token}")


@dataclass(frozen=True, slots=True, repr=False)
class Wsse:
    """A WSSE user and its secret. Raises `SettingError`."""

    username: SecretStr
    secret: SecretStr

    version = "v2"

    def __post_init__(self) -> None:
        if '"' in _plain("username", self.username):
            raise SettingError("username", "holds a quote, which the header has no place for")
        _plain("secret", self.secret)

    @property
    def user(self) -> str:
        return self.username.get_secret_value()

    def sign(self, request: Request, signing: SigningContext) -> Request:
        created = datetime.fromtimestamp(int(signing.now_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        digest = password_digest(signing.nonce, created, self.secret.get_secret_value())
        token = (
            f'UsernameToken Username="{self.user}", PasswordDigest="{digest}", '
            f'Nonce="{signing.nonce}", Created="{created}"'
        )
        return _with_header(request, "x-wsse", token)


Credentials = OAuth | Wsse


def credentials(
    client_id: SecretStr | None = None,
    client_secret: SecretStr | None = None,
    username: SecretStr | None = None,
    secret: SecretStr | None = None,
    token_url: str = TOKEN_URL,
) -> Credentials:
    """The credentials that the settings give; OAuth where they give both. Raises `SettingError` that names the missing
    one."""
    if not (client_id or client_secret) and (username or secret):
        return Wsse(_given("username", username), _given("secret", secret))
    return OAuth(_given("client_id", client_id), _given("client_secret", client_secret), token_url)


def password_digest(nonce: str, created: str, secret: str) -> str:
    """The password digest of WSSE: base64 of the 40 hexadecimal characters of a SHA-1, not of its 20 bytes."""
    return base64.b64encode(hashlib.sha1((nonce + created + secret).encode()).hexdigest().encode()).decode()  # noqa: S324


def read_token(response: Response) -> Token | Limited | Retry | Stop:
    """The token and for how many seconds to use it, or why there is none."""
    status = response.status
    if 200 <= status < 300:
        return _token(response) or Retry(FailureCode.UNREADABLE_TOKEN)
    rate = rate_headers(response.headers, server_s(response.headers) or 0.0)
    if status == 429:
        return Limited(rate.retry_after_s if rate.retry_after_s is not None else rate.reset_s)
    if status >= 500 or status in _TRY_AGAIN:
        return Retry(token_code(status), rate.retry_after_s)
    # A refusal of OAuth2 is an object with `error` (RFC 6749, section 5.2); any other body is a gateway's.
    body = decode(response.body)
    if not (isinstance(body, dict) and "error" in body) and is_from_between(status):
        return Retry(token_code(status), rate.retry_after_s)
    if status in (400, 401, 403):
        return Stop(FailureCode.UNAUTHORIZED, "Emarsys gives no token: check client_id, client_secret and token_url")
    return Stop(token_code(status), f"the token address answered {status}: check token_url")


def server_s(headers: Mapping[str, str]) -> float | None:
    """The platform's clock as Unix time in seconds, from the Date header; None without a readable one."""
    try:
        when = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, OverflowError):
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _with_header(request: Request, name: str, value: str) -> Request:
    """The request with the header; unchanged for an address that came from a reply, and for the token request,
    which carries credentials of its own."""
    if request.public_only or "authorization" in request.headers:
        return request
    return replace(request, headers={**request.headers, name: value})


def _token(response: Response) -> Token | None:
    try:
        payload = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None
    if response.truncated or not isinstance(payload, dict):
        return None
    value = payload.get("access_token")
    if not isinstance(value, str) or not HEADER_TEXT.fullmatch(value):
        return None
    try:
        life_s = float(payload.get("expires_in") or UNKNOWN_LIFE_S)
    except (TypeError, ValueError):
        life_s = UNKNOWN_LIFE_S
    if not math.isfinite(life_s) or life_s <= 0:
        return None
    return Token(value, min(max(life_s - MARGIN_S, life_s / 2), LONGEST_LIFE_S))


def _given(name: str, value: SecretStr | None) -> SecretStr:
    if not value:
        raise SettingError(name, "is missing: give client_id and client_secret, or username and secret for WSSE")
    return value


def _plain(name: str, value: SecretStr) -> str:
    text = value.get_secret_value()
    if not HEADER_TEXT.fullmatch(text):
        raise SettingError(name, "is empty or holds characters that no credential has")
    return text
