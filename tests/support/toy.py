"""A platform of our own, whole: what a fourth one costs. `Toy` is the provider, `ToySandbox` what it speaks to.

PUT /people  [{"mail", "name"}]  ->  200 {"refused": {mail: reason}}
GET /me                          ->  200 {}
"""

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson

from contact_ingest.errors import Refused, SettingError
from contact_ingest.model.http_message import Request, rate_headers
from contact_ingest.model.verdicts import Done, Healthy, Limited, Rejected, Retry, RowError, Stop
from contact_ingest.packing.payload import Limits
from contact_ingest.providers.base import Prepared
from contact_ingest.providers.credentials import account_name, checked_key, checked_url


class Toy:
    identifiers = ("email",)

    def __init__(self, *, api_key, base_url, unknown_fields="refuse", rates=None):
        self._key, self._url = checked_key(api_key), checked_url(base_url)
        self._drops, self.rates = unknown_fields == "drop", dict(rates or {})
        self.account = account_name(self._url, self._key)

    def lane_options(self, **options):
        for name in options:
            raise SettingError(name, "is not an option of a Toy lane; it takes none")
        return {}

    def limits(self, lane, max_bytes=None):
        return Limits(100, min(65_536, max_bytes or 65_536), b"[", b"]")

    def prepare(self, raw, fields):
        record = orjson.loads(raw)
        others = tuple(sorted(record.keys() - {"email", "first_name"}))
        if others and not self._drops:
            raise Refused(others[0], "Toy has no such field", "unknown_field")
        mail, name = str(record["email"]).lower(), str(record.get("first_name", ""))
        if len(name) > 20:
            raise Refused("first_name", f"has {len(name)} characters, over the 20 allowed", "too_long")
        return Prepared(orjson.dumps({"mail": mail, "name": name}), (f"email:{mail}",), others)

    def upsert(self, lane, rows):
        return Request("PUT", f"{self._url}/people", "upsert", body=[b"[", *rows, b"]"])

    def read_upsert(self, response, now_s):
        if response.status == 400:
            return Rejected("http_400", "Toy refuses the request")
        if response.status != 200:
            return self._elsewhere(response, now_s)
        try:
            refused = orjson.loads(response.body)["refused"].items()
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return Retry("unreadable_reply", unknown=True)
        return Done(tuple(RowError("refused", reason, mail) for mail, reason in refused))

    def find_rows(self, rows, failed):
        mails = [orjson.loads(row.strip(b","))["mail"] for row in rows]
        return [[place for place, mail in enumerate(mails) if mail == error.value] for error in failed]

    def sign(self, request, signing):
        return replace(request, headers={**request.headers, "x-toy-key": self._key})

    def probe(self):
        return Request("GET", f"{self._url}/me", "upsert")

    def read_probe(self, response, now_s):
        return Healthy() if response.status == 200 else self._elsewhere(response, now_s)

    def _elsewhere(self, response, now_s):
        if response.status == 429:
            return Limited(rate_headers(response.headers, now_s).retry_after_s)
        return Stop("unauthorized", "check api_key") if response.status == 401 else Retry(f"http_{response.status}")


class ToySandbox(BaseHTTPRequestHandler):
    """`serve` gives a server with `url`, `stored` (mail to name), `sizes` of bodies, and `script`: statuses to come."""

    protocol_version, key = "HTTP/1.1", "toy-key"

    def do_PUT(self):
        body, server = self.rfile.read(int(self.headers["content-length"])), self.server
        server.sizes.append(len(body))
        status = server.script.pop(0) if server.script else 200
        people = orjson.loads(body) if status == 200 and self.headers["x-toy-key"] == self.key else []
        bad = {each["mail"]: "a bad name" for each in people if "bad" in each["name"]}
        server.stored |= {each["mail"]: each["name"] for each in people if each["mail"] not in bad}
        self._answer(status, {"refused": bad})

    def do_GET(self):
        self._answer(200, {})

    def _answer(self, status, content):
        reply = orjson.dumps(content)
        self.send_response(status if self.headers["x-toy-key"] == self.key else 401)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        """Standard error stays clean."""


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), ToySandbox)
    server.stored, server.sizes, server.script = {}, [], []
    server.url, server.daemon_threads = f"http://127.0.0.1:{server.server_port}", True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
