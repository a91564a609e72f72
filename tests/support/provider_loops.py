"""A Loops provider without a server: what it sends, and what it makes of replies."""

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import Refused
from contact_ingest.model.http_message import Response
from contact_ingest.providers.loops.provider import Loops

KEY = "made-up-0123456789abcdef"
PROPERTIES = [
    {"key": "planName", "label": "Plan", "type": "string"},
    {"key": "seats", "label": "Seats", "type": "number"},
    {"key": "isAdmin", "label": "Admin", "type": "boolean"},
    {"key": "since", "label": "Since", "type": "date"},
    {"key": "mood", "label": "Mood", "type": "emoji"},
]
POLICIES = ("refuse", "drop", "create")
#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def loops(**config):
    return Loops(api_key=SecretStr(KEY), **config)


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


FIELDS = loops().read_definitions(reply(200, PROPERTIES), 77)


def prepared(record, table=FIELDS, **config):
    return loops(**config).prepare(orjson.dumps(record), table)


def sent(record, **config):
    return orjson.loads(prepared(record, **config).encoded)


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
