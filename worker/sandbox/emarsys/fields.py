"""The fields of contacts: those of every account and those of this account, with their ids, types and choices.

Source: system_fields.rst, contact_field_list.rst, contact_field_create.rst and contact_field_choice_list.rst of the
developer documentation, checked 2026-11-25. The number of choices of the system fields is made up: a client has to ask
for them.
"""

from dataclasses import dataclass, field
from typing import Any

from contact_ingest.sandbox.emarsys.dials import EmarsysDials
from contact_ingest.sandbox.emarsys.replies import ok, refusal
from contact_ingest.sandbox.messages import Reply

EMAIL, OPT_IN, EID = "3", "31", "eid"
SHORT, LONG, CHOICE, SPECIAL = "shorttext", "longtext", "singlechoice", "special"
CHOICES = 12

_SYSTEM = (
    *((0, "Interests", "interests"), (1, "First Name", SHORT), (2, "Last Name", SHORT), (3, "E-Mail", LONG)),
    *((4, "Date of Birth", "birthdate"), (5, "Gender", CHOICE), (6, "Marital Status", CHOICE), (7, "Children", CHOICE)),
    *((8, "Education", CHOICE), (9, "Title", CHOICE), (10, "Address", LONG), (11, "City", SHORT), (12, "State", SHORT)),
    *((13, "ZIP Code", SHORT), (14, "Country", CHOICE), (15, "Phone", SHORT), (16, "Fax", "fax")),
    *((17, "Job Position", CHOICE), (18, "Company", LONG), (19, "Department", CHOICE), (20, "Industry", CHOICE)),
    *((21, "Phone (office)", SHORT), (22, "Fax (office)", "fax"), (23, "Number of Employees", CHOICE)),
    *((24, "Annual Revenue (in 000 EUR)", CHOICE), (25, "URL", "url"), (26, "Preferred e-mail format", CHOICE)),
    *((27, "Avg. length of visit (minutes)", SPECIAL), (28, "Page views per day", SPECIAL)),
    *((29, "Days since last e-mail sent", SPECIAL), (30, "Response rate (% of campaigns sent)", SPECIAL)),
    *((31, "Opt-In", SPECIAL), (32, "User status", SPECIAL), (33, "Contact source", SPECIAL)),
    *((34, "Contact form", SPECIAL), (35, "Registration Language", CHOICE), (36, "Newsletter", SPECIAL)),
    *((37, "Mobile", SHORT), (38, "First Name of Partner", SHORT), (39, "Birthdate of Partner", "birthdate")),
    *((40, "Anniversary", "date"), (41, "Company Address", LONG), (42, "Zip Code (office)", SHORT)),
    *((43, "City (office)", SHORT), (44, "State (office)", SHORT), (45, "Country (office)", CHOICE)),
    *((46, "Salutation", CHOICE), (47, "E-Mail valid", SPECIAL), (48, "Date of first registration", SPECIAL)),
)
_READ_ONLY = frozenset({0, 27, 28, 29, 30, 32, 33, 34, 36, 47, 48})
_LABELS = {5: ("male", "female"), 26: ("HTML", "Text only")}


@dataclass(frozen=True, slots=True)
class Field:
    """A field. `kind` is the application type. `choices` are labels by id, ids as text."""

    id: str
    name: str
    kind: str
    choices: dict[str, str] = field(default_factory=dict)
    read_only: bool = False
    indexed: bool = True


def _system_field(number: int, name: str, kind: str) -> Field:
    labels = _LABELS.get(number, tuple(f"{name} {n}" for n in range(1, CHOICES + 1))) if kind == CHOICE else ()
    choices = {str(n): label for n, label in enumerate(labels, 1)}
    return Field(str(number), name, kind, choices, read_only=number in _READ_ONLY, indexed=number not in _READ_ONLY)


SYSTEM_FIELDS = {str(each[0]): _system_field(*each) for each in _SYSTEM}


#: Types that a created field can have. Fields with choices are created in the web interface only.
CREATABLE = frozenset({"shorttext", "longtext", "largetext", "date", "url", "numeric"})
MAX_NAME = 255
FIRST_CREATED = 90_001


class AccountFields:
    """The fields of the account: system fields, those of the dials, and those that requests have created."""

    def __init__(self) -> None:
        self._created: dict[str, Field] = {}

    def by_id(self, dials: EmarsysDials) -> dict[str, Field]:
        custom = {
            str(each.id): Field(str(each.id), each.name, each.kind, each.choices, False, each.indexed)
            for each in dials.emarsys_fields
        }
        experimental = {EID: Field(EID, "EID", SHORT)} if dials.emarsys_eid else {}
        return SYSTEM_FIELDS | custom | self._created | experimental

    def create(self, content: dict[str, Any], dials: EmarsysDials) -> Reply:
        """POST field: `{"name": "Plan", "application_type": "shorttext"}`. The reply has the id of the new field."""
        name, kind = content.get("name"), content.get("application_type")
        if type(name) is not str or not 1 <= len(name.strip()) <= MAX_NAME:
            return refusal(400, 1008, "Invalid value for field: name")
        if kind not in CREATABLE:
            return refusal(400, 1008, "Invalid value for field: application_type")
        if any(each.name.lower() == name.lower() for each in self.by_id(dials).values()):
            return refusal(400, 1008, "A field with this name exists")
        made = Field(str(FIRST_CREATED + len(self._created)), name, kind, indexed=False)
        self._created[made.id] = made
        return ok({"id": int(made.id)})


def list_fields(fields: dict[str, Field], dials: EmarsysDials) -> Reply:
    return ok(
        [
            {
                "id": int(each.id) if dials.emarsys_field_ids == "integers" else each.id,
                "name": each.name,
                "application_type": each.kind,
                "string_id": "_".join(each.name.lower().split()),
            }
            for each in fields.values()
            if each.id != EID
        ]
    )


def list_choices(field_id: str, fields: dict[str, Field]) -> Reply:
    found = fields.get(field_id)
    if found is None:
        return refusal(400, 1007, f"No such field: {field_id}")
    return ok([{"id": each, "choice": label} for each, label in found.choices.items()])
