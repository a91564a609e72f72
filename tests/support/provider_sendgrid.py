"""A SendGrid provider without a server: what it sends, and what it makes of replies."""

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.model.http_message import Response
from contact_ingest.model.verdicts import (
    FieldTable,
)
from contact_ingest.providers.sendgrid.provider import SendGrid

KEY = "SG.made-up.key"
FIELDS = FieldTable(
    {"plan": ("e1_T", "Text"), "seats": ("e2_N", "Number"), "since": ("e3_D", "Date"), "mood": ("e4_X", "Mood")}, 1
)
NOW_S = 1_795_000_000.0
#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sendgrid(**config):
    return SendGrid(api_key=SecretStr(KEY), **config)


def prepared(record, table=FIELDS, **config):
    return sendgrid(**config).prepare(orjson.dumps(record), table)


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


def report(status, body=None, **headers):
    return sendgrid().read_job(reply(status, body, **headers), NOW_S)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
