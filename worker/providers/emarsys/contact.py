"""Turns a record into an Emarsys contact: fields by number, checked against their types, encoded once.

    {"email": "Ann@Example.com", "first_name": "Ann", "custom_fields": {"Plan": "pro"}}
    {"3": "ann@example.com", "1": "Ann", "4712": "pro"}

`find_rows` is the way back: from the key that a reply quotes to the row. A refusal names the field, the rule, and the
length or type found, never the content.

Sources: PUT /v2/contact of the official Swagger file, the developer documentation on updating contacts and on system
fields; checked 2026-11-22.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from contact_ingest.errors import Refused
from contact_ingest.model.failure_codes import FailureCode
from contact_ingest.model.verdicts import FieldTable, RowError
from contact_ingest.providers.base import Prepared, UnknownFields
from contact_ingest.providers.email_address import MAX_EMAIL, address, comparable
from contact_ingest.providers.emarsys.fields import MAX_TEXT, NEUTRAL, checked, translate
from contact_ingest.providers.emarsys.identity import EMAIL_ID, Identity
from contact_ingest.providers.refusal_text import field_label, kind_of, type_code

#: Most characters of an external_id. The type of its field is not known here: this is the longest typed text.
MAX_EXTERNAL_ID = MAX_TEXT["longtext"]


def prepare(raw: bytes, table: FieldTable, identity: Identity, policy: UnknownFields) -> Prepared:
    """Raises `Refused`, or `FieldsNeeded` for custom fields that the table lacks."""
    record = _decoded(raw)
    if identity.key_field not in record:
        raise Refused(
            identity.key_field, "is this destination's key, and every record needs it", FailureCode.NO_IDENTIFIER
        )
    sent: dict[str, Any] = {identity.key_id: None}
    for name, value in record.items():
        if name != "custom_fields":
            field_id, checked_value = _neutral(name, value, identity)
            # `phone` and `phone_number` are one field at Emarsys.
            if sent.get(field_id) not in (None, checked_value):
                raise Refused(
                    name, "differs from what the record says of it elsewhere: give one", FailureCode.GIVEN_TWICE
                )
            sent[field_id] = checked_value
    dropped: tuple[str, ...] = ()
    if "custom_fields" in record:
        custom = record["custom_fields"]
        if not isinstance(custom, dict):
            raise Refused("custom_fields", f"must be an object, not {kind_of(custom)}", type_code(custom))
        values, dropped = translate(custom, table, policy)
        if identity.external_id_field in values:
            raise Refused(
                "custom_fields",
                "holds this destination's external_id: give it by that name",
                FailureCode.RESERVED_FIELD,
            )
        sent.update(values)
    if identity.source_id is not None:
        sent["source_id"] = identity.source_id
    return Prepared(orjson.dumps(sent), (f"{identity.key_field}:{sent[identity.key_id]}",), dropped)


def find_rows(rows: Sequence[bytes], failed: Sequence[RowError], identity: Identity) -> list[list[int]]:
    """For each error the positions in `rows` whose key it quotes; addresses compare in any letter case."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    if any(error.value for error in failed):
        for place, row in enumerate(rows):
            key = orjson.loads(row.strip(b",")).get(identity.key_id, "")
            places[_folded(str(key), identity)].append(place)
    return [list(places.get(_folded(error.value, identity), ())) if error.value else [] for error in failed]


def _folded(key: str, identity: Identity) -> str:
    return comparable(key) if identity.key_field == "email" else key


def _decoded(raw: bytes) -> Mapping[str, Any]:
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refused("record", "is not JSON", FailureCode.NOT_AN_OBJECT) from None
    if not isinstance(record, dict):
        raise Refused("record", f"must be an object, not {kind_of(record)}", FailureCode.NOT_AN_OBJECT)
    return record


def _neutral(name: str, value: object, identity: Identity) -> tuple[str, Any]:
    """The id and the value that a field of the record has at Emarsys. Raises `Refused`."""
    if name == "email":
        return EMAIL_ID, address(_identifier(name, value, MAX_EMAIL), name)
    if name == "external_id" and identity.external_id_field:
        return identity.external_id_field, _identifier(name, value, MAX_EXTERNAL_ID)
    if name == "external_id":
        raise Refused(name, "has no place at this destination: set external_id_field", FailureCode.UNKNOWN_FIELD)
    if name not in NEUTRAL:
        rule = "is not a field that Emarsys knows: own fields go into custom_fields"
        raise Refused(field_label(name), rule, FailureCode.UNKNOWN_FIELD)
    field_id, kind = NEUTRAL[name]
    return field_id, checked(name, value, kind)


def _identifier(name: str, value: object, most: int) -> str:
    if not isinstance(value, str):
        raise Refused(name, f"must be text, not {kind_of(value)}", type_code(value))
    if not value:
        raise Refused(name, "is empty: leave the field out", FailureCode.EMPTY)
    if len(value) > most:
        raise Refused(name, f"has {len(value)} characters, over the {most} allowed", FailureCode.TOO_LONG)
    return value
