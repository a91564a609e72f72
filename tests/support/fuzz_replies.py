"""Hostile replies by the thousand, the same ones for the same seed: any status with any headers and any body.

They are parsed replies, as the transport hands them over. What only a wire can do wrong is in `WIRES`.
"""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from support.fuzz_records import CANARY, TEXTS

from contact_ingest.model.http_message import Response

STATUSES = (
    200,
    200,
    200,
    201,
    202,
    202,
    204,
    206,
    301,
    302,
    304,
    400,
    400,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    413,
)
STATUSES += (418, 422, 423, 425, 429, 429, 451, 499, 500, 502, 503, 504, 520, 599, 600, 999)
#: Waits that no clock knows.
WAITS = (
    *("31536000", "-1", "0", "1e400", "nan", "inf", "9" * 400, "1.5", " 7 ", "٣", "0x10", "1_0", "", "soon", "\x00"),
    *("Wed, 21 Oct 2099 07:28:00 GMT", "Mon, 01 Jan 99999999999999 00:00:00 GMT", "Thu, 99 Foo 0000 99:99:99 +9999"),
    *(
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 -9999999999999999999999",
        "1 1 1",
        ",",
    ),
    *("31 Dec 9999 23:59:59 -2359", "1 Jan 1 0:0:0 +2359"),
)
HEADERS = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "date", "x-request-id")
URLS = (
    *(
        "http://127.0.0.1/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
    ),
    *(
        "https://169.254.169.254/latest/meta-data",
        "https://user:word@8.8.8.8/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
    ),
    *(
        "https://0/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://[64:ff9b::7f00:1]/",
        "ftp://8.8.8.8/",
        "https://",
    ),
    *(
        "gopher://x",
        "https://localhost:6379/",
        "javascript:alert(1)",
        "https://a b/",
        "https://\u0000/",
        "x" * 9_000,
        "//x",
    ),
)


class Replies:
    """A source of hostile replies. `values` are identifiers that were sent: a reply may name them."""

    def __init__(self, seed: int, values: Sequence[str] = ()) -> None:
        self._dice = random.Random(seed)
        self.values: Sequence[str] = values or (f"{CANARY}@hostile.example",)

    def reply(self) -> tuple[str, Response]:
        dice = self._dice
        kind = dice.choice(tuple(self._bodies()))
        headers = {name: dice.choice((*WAITS, *TEXTS)) for name in HEADERS if dice.random() < 0.3}
        body = self._bodies()[kind]()
        return kind, Response(dice.choice(STATUSES), headers, body, dice.randrange(30_000), dice.random() < 0.05)

    def error_file(self) -> tuple[str, bytes]:
        dice = self._dice
        rows = [(dice.choice(self.values), self._text()) for _ in range(dice.randrange(20))]
        kinds: dict[str, Callable[[], bytes]] = {
            "csv": lambda: "\n".join(f"{who}{dice.choice(',;|')}{why}" for who, why in rows).encode("utf-8", "replace"),
            "json": lambda: json.dumps([{"email": who, "error": why} for who, why in rows]).encode(),
            "anything": lambda: json.dumps(self._anything(4)).encode(),
            "utf-16": lambda: "\n".join(map("\t".join, rows)).encode("utf-16", "replace"),
            "gzip": lambda: gzip.compress(json.dumps(rows).encode(), 1),
            "gzip, cut": lambda: gzip.compress(json.dumps(rows).encode() * 9, 1)[: dice.randrange(20, 90)],
            "garbage": lambda: dice.randbytes(dice.randrange(3_000)),
            "quotes": lambda: dice.choice((b'"', b"\0", b",", b"\n", b"{", b"[", b'{"a":', b"a@")) * 20_000,
        }
        kind = dice.choice(tuple(kinds))
        return kind, kinds[kind]()

    def _bodies(self) -> dict[str, Callable[[], bytes]]:
        dice = self._dice
        return {
            "empty": lambda: b"",
            "garbage": lambda: dice.randbytes(dice.randrange(400)),
            "html": f"<html>{CANARY} 502 Bad Gateway</html>".encode,
            "cut": lambda: json.dumps(self._complaint()).encode()[: dice.randrange(1, 60)],
            "deep": lambda: dice.choice((b"[", b'{"errors":', b'{"a":')) * dice.choice((100, 1_500, 50_000)),
            "complaint": lambda: json.dumps(self._complaint()).encode(),
            "taken in": lambda: json.dumps({"job_id": self._job()}).encode(),
            "job": lambda: json.dumps(self._job_report()).encode(),
            "answer": lambda: json.dumps(self._answer()).encode(),
            "definitions": lambda: json.dumps(self._definitions()).encode(),
            "token": lambda: json.dumps({"access_token": self._anything(1), "expires_in": self._number()}).encode(),
            "anything": lambda: json.dumps(self._anything(4)).encode(),
        }

    def _text(self) -> str:
        dice = self._dice
        value = dice.choice(self.values)
        quoted = dice.choice(("'{}'", '"{}"', "<{}>", "{}", "email '{}' is not valid", "contacts[{}]")).format(value)
        return dice.choice(
            (quoted, *TEXTS, f"{CANARY} " * 300, "'" * 3_000, "contacts[99999].email", "custom field ids supplied: x")
        )

    def _number(self) -> Any:
        return self._dice.choice(
            (0, 1, -1, 3, 2**31, 2**53, 2**63, 2**64 - 1, 10**30, 1e300, "7", "x", None, [], {}, True)
        )

    def _job(self) -> Any:
        return self._dice.choice(
            ("a-job", "a\nb", "\0", "../../etc", "x" * 5_000, "%2e%2e", "j?x#y", "é", self._number())
        )

    def _anything(self, depth: int) -> Any:
        dice = self._dice
        if depth == 0 or dice.random() < 0.3:
            return dice.choice((self._text(), self._number()))
        if dice.random() < 0.5:
            return [self._anything(depth - 1) for _ in range(dice.randrange(4))]
        names = (
            "errors",
            "error",
            "message",
            "field",
            "data",
            "results",
            "status",
            "job_id",
            "replyCode",
            "ids",
            "key",
        )
        return {dice.choice((*names, *TEXTS, dice.choice(self.values))): self._anything(depth - 1) for _ in range(3)}

    def _complaint(self) -> Any:
        dice = self._dice
        entry = {"message": self._text(), "field": dice.choice((self._text(), self._number(), "contacts[0].email"))}
        return {"errors": dice.choice(([entry] * dice.randrange(4), entry, self._text(), self._anything(2)))}

    def _job_report(self) -> Any:
        dice = self._dice
        results = {
            "errored_count": self._number(),
            "requested_count": self._number(),
            "errors_url": dice.choice((*URLS, self._number())),
        }
        status = dice.choice(
            ("completed", "errored", "failed", "pending", "COMPLETED", "done", "\n", "", self._number())
        )
        return {"id": self._job(), "status": status, "results": dice.choice((results, results, self._anything(2)))}

    def _answer(self) -> Any:
        """Of platforms that answer at once."""
        dice = self._dice
        errors = dice.choice(
            ({who: {"2008": self._text()} for who in self.values[:3]}, self._anything(3), {"": {}}, [])
        )
        return {
            "replyCode": dice.choice((0, "0", 2008, 2009, 10001, self._number())),
            "replyText": self._text(),
            "data": dice.choice(({"ids": [1], "errors": errors}, {"errors": errors}, self._anything(2))),
            "success": dice.choice((True, False, 1, "true")),
            "id": dice.choice(("x", "", 1, None)),
        }

    def _definitions(self) -> Any:
        dice = self._dice
        fields = [
            {
                "name": self._text(),
                "id": self._job(),
                "field_type": self._text(),
                "key": self._text(),
                "type": self._text(),
            }
            for _ in range(dice.randrange(5))
        ]
        wrapped = (
            {"custom_fields": fields},
            fields,
            {"replyCode": 0, "data": fields},
            {"custom_fields": {"x": fields}},
        )
        return dice.choice(wrapped)


def _head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


#: What is written on the wire in answer to a request, piece by piece; a number repeats the piece before it.
WIRES: dict[str, tuple[bytes | int, ...]] = {
    "nothing": (),
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n",),
    "a status that is none": (b"HTTP/1.1 abc OK\r\n\r\n",),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le",),
    "an endless head": (b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 60_000 + b"\r\n", 50),
    "endless continues": (b"HTTP/1.1 100 Continue\r\n\r\n", 20_000),
    "shorter than declared": (_head(content_length="1000"), b"{}"),
    "longer than declared": (_head(content_length="2"), b"{}" * 1_000),
    "two lengths": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",),
    "a negative length": (_head(content_length="-1"), b"{}"),
    "a length beyond all": (_head(content_length="9" * 30), b"{}"),
    "chunks of nonsense": (_head(transfer_encoding="chunked"), b"zz\r\nxx\r\n"),
    "chunks without end": (_head(transfer_encoding="chunked"), b"ffffffffffffffff\r\n", b"x" * 65_536, 300),
    "a gigabyte": (_head(content_length=str(10**9)), b"x" * 1_000_000, 999),
    "a gzip bomb": (_head(content_encoding="gzip", connection="close"), gzip.compress(bytes(200_000_000), 9)),
    "gzip that is none": (_head(content_encoding="gzip", content_length="2"), b"{}"),
    "a redirect": (_head("302 Found", location="http://127.0.0.1:1/", content_length="0"),),
    "a year's wait": (_head("429 Too Many", retry_after="31536000", content_length="0"),),
    "control characters": (b"HTTP/1.1 200 OK\r\nx-request-id: a\x01\x7f\r\ncontent-length: 2\r\n\r\n{}",),
    "no address ends": (_head("400 Bad Request", content_length="60000"), (CANARY + "@").encode() * 5_000),
    "lists of lists": (_head("400 Bad Request", content_length="7500001"), b"[" + b"[]," * 2_500_000),
}
