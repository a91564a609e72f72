"""An Emarsys provider without a server: what it sends, and what it makes of replies."""

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import Refused
from contact_ingest.model.http_message import Response
from contact_ingest.model.lane import Lane
from contact_ingest.providers.emarsys.auth import OAuth, Wsse
from contact_ingest.providers.emarsys.identity import Identity
from contact_ingest.providers.emarsys.provider import account as make_account

OAUTH = OAuth(SecretStr("made-up-client"), SecretStr("made-up:secret"))
WSSE = Wsse(SecretStr("acme001"), SecretStr("s3cr3t"))
EXTERNAL = Identity(key_field="external_id", external_id_field="4711")
PLAIN = Lane("news", "crm")
LISTED = Lane("news", "crm", {"contact_list_id": 123456})
NOW_S = 1_795_000_000.0
DATE = "Wed, 18 Nov 2026 11:06:40 GMT"  # NOW_S
#: What an account lists: system fields and its own.
LISTING = [
    {"id": "0", "name": "Interests", "application_type": "interests"},
    {"id": "1", "name": "First Name", "application_type": "shorttext"},
    {"id": "3", "name": "E-Mail", "application_type": "longtext"},
    {"id": "4", "name": "Date of Birth", "application_type": "birthdate"},
    {"id": "31", "name": "Opt-In", "application_type": "special"},
    {"id": "32", "name": "User status", "application_type": "special"},
    {"id": "37", "name": "Mobile", "application_type": "shorttext"},
    {"id": 4711, "name": "CRM number", "application_type": "shorttext", "string_id": "crm_number"},
    {"id": "5001", "name": "Plan", "application_type": "shorttext"},
    {"id": "5002", "name": "Note", "application_type": "longtext"},
    {"id": "5003", "name": "Story", "application_type": "largetext"},
    {"id": "5004", "name": "Seats", "application_type": "numeric"},
    {"id": "5005", "name": "Since", "application_type": "date"},
    {"id": "5006", "name": "Size", "application_type": "singlechoice"},
    {"id": "5007", "name": "Topics", "application_type": "multichoice"},
    {"id": "5008", "name": "Homepage", "application_type": "url"},
    {"id": "5009", "name": "Voucher", "application_type": "voucher"},
    {"id": "5010", "name": "Twice", "application_type": "shorttext"},
    {"id": "5011", "name": "twice", "application_type": "numeric"},
    {"id": "5012", "name": "5001", "application_type": "longtext"},
    {"id": "5013", "name": "Odd", "application_type": "hologram"},
]
#: A busy machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def emarsys(signs=OAUTH, **config):
    return make_account(credentials=signs, **config)


def envelope(code=0, data="", text="OK"):
    return {"replyCode": code, "replyText": text, "data": data}


def reply(status, body=None, **headers):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 5)


FIELDS = emarsys().read_definitions(reply(200, envelope(0, LISTING)), 77)


def prepared(record, table=FIELDS, **config):
    return emarsys(**config).prepare(orjson.dumps(record), table)


def refused(record, **config):
    with pytest.raises(Refused) as caught:
        prepared(record, **config)
    return caught.value.field, caught.value.code


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
