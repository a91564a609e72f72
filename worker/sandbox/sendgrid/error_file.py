"""The file behind `errors_url`: the rows of a job that failed, and why.

The format, lifetime and protection of the file are not documented, so the format is a dial. Plain CSV is what the
e-mail after an upload in the web interface links to (checked 2026-11-22). The file lies in storage without credentials:
its path is the secret. A request with an Authorization header is refused, because it has leaked a key.
"""

import csv
import gzip
import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from contact_ingest.sandbox.messages import Reply
from contact_ingest.sandbox.sendgrid.contacts import IDENTIFIERS
from contact_ingest.sandbox.sendgrid.dials import SendGridDials

ERROR_FILE_FOLDER = "/files/"


@dataclass(frozen=True, slots=True, repr=False)
class FailedRow:
    """A failed row of a job: its contact and the reason."""

    contact: Mapping[str, Any]
    reason: str

    @property
    def identifier(self) -> str:
        return str(next(self.contact[name] for name in IDENTIFIERS if name in self.contact))


class ErrorFiles:
    """The error files by path. A file that was fetched already is None, if files can be fetched only once."""

    def __init__(self) -> None:
        self._files: dict[str, Reply | None] = {}

    def add(self, rows: list[FailedRow], dials: SendGridDials) -> str:
        """Make the error file of these rows. Returns its path."""
        path = f"{ERROR_FILE_FOLDER}{secrets.token_urlsafe(24)}/errors.csv"
        self._files[path] = replace(render_error_file(rows, dials.error_file_shape), note=dials.error_file_shape)
        return path

    def fetch(self, path: str, headers: Mapping[str, str], dials: SendGridDials) -> Reply:
        if path not in self._files:
            return _storage_error(404, "NoSuchKey")
        if "authorization" in headers and dials.error_file_key == "refused":
            return _storage_error(400, "InvalidArgument")
        if "authorization" not in headers and dials.error_file_key == "needed":
            return _storage_error(401, "AccessDenied")
        found = self._files[path]
        if found is None:
            return _storage_error(403, "AccessDenied")
        if dials.error_file_once:
            self._files[path] = None
        return found

    def clear(self) -> None:
        self._files.clear()


def render_error_file(rows: list[FailedRow], shape: str) -> Reply:
    """The error file as a reply, in one of the forms of `ErrorFileShape`."""
    pairs = [(row.identifier, row.reason) for row in rows]
    title = "email" if all("email" in row.contact for row in rows) else "identifier"
    if shape == "html":
        return Reply(200, b"<!DOCTYPE html><html><body><h1>Service unavailable</h1></body></html>", "text/html")
    if shape.endswith(("json", "array", "lines")):
        return _json(title, pairs, shape)
    if shape == "upper":
        pairs = [(identifier.upper(), reason) for identifier, reason in pairs]
    body = _csv(title, pairs, ";" if shape == "csv_semicolon" else ",")
    if shape == "bom":
        body = b"\xef\xbb\xbf" + body
    if shape == "gzip":
        return Reply(200, gzip.compress(body), "application/octet-stream")
    return Reply(200, body[: len(body) // 2] if shape == "truncated" else body, "text/csv")


def _csv(title: str, pairs: list[tuple[str, str]], delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow((title, "error"))
    writer.writerows(pairs)
    return text.getvalue().encode()


def _json(title: str, pairs: list[tuple[str, str]], shape: str) -> Reply:
    flat = [{title: identifier, "error": reason} for identifier, reason in pairs]
    if shape == "json_lines":
        return Reply(200, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in flat))
    nested = [{"contact": {title: name}, "errors": [{"message": reason}]} for name, reason in pairs]
    return Reply(200, orjson.dumps(flat if shape == "json_array" else {"result": {"rows": nested}}))


def _storage_error(status: int, code: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
