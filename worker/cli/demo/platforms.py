"""The platforms of the demonstration: their settings, the preparation of the account, and how to read the contacts.

The platforms' names of the neutral fields are repeated here on purpose: the check must not share them with the code
that it checks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import orjson

from contact_ingest.config.destinations import PLATFORM_VARIABLES
from contact_ingest.config.settings import Destination
from contact_ingest.sandbox.process import SandboxProcess

KEY = "SG.demo"
#: The client that the Emarsys stand-in knows from the start.
EMARSYS_CLIENT, EMARSYS_SECRET = "sandbox-client", "sandbox-secret"
PLAN, VISITS = "plan", "visits"


@dataclass(frozen=True, slots=True)
class DemoPlatform:
    """A platform of the demonstration.

    `variables` makes the environment variables from the sandbox's address and a key. `add_fields` creates the account's
    custom fields, as its owner would, and returns the platform's name of each. The rest says how the sandbox shows a
    contact: `names` has the neutral fields with other names there, `nested` the key below a contact that holds further
    values, and `absent` the value of a field that is not set.
    """

    name: str
    variables: Callable[[str, str], dict[str, str]]
    add_fields: Callable[[SandboxProcess], dict[str, str]]
    names: Mapping[str, str] = field(default_factory=dict)
    nested: str = ""
    absent: Any = None

    def destination(self, url: str) -> Destination:
        given = self.variables(url, KEY)
        own = {name: given[variable] for name, variable in PLATFORM_VARIABLES[self.name].items() if variable in given}
        return Destination(platform=self.name, **own)

    def wanted(self, contact: Mapping[str, Any], custom_names: Mapping[str, str]) -> dict[str, Any]:
        """A contact with neutral field names, as {the platform's field name: value}."""
        own = {self.names.get(name, name): value for name, value in contact.items() if name != "custom_fields"}
        return own | {custom_names[name]: value for name, value in contact["custom_fields"].items()}

    def values(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A contact of the sandbox as one flat object."""
        return {**stored, **stored.get(self.nested, {})}

    def email(self, values: Mapping[str, Any]) -> str:
        return str(values.get(self.names.get("email", "email"), ""))


def sendgrid_variables(url: str, key: str) -> dict[str, str]:
    return {"SENDGRID_BASE_URL": url, "SENDGRID_API_KEY": key}


def loops_variables(url: str, key: str) -> dict[str, str]:
    return {"LOOPS_BASE_URL": f"{url}/api", "LOOPS_API_KEY": key}


def emarsys_variables(url: str, key: str) -> dict[str, str]:
    """Emarsys has no API key; it has clients with secrets."""
    del key
    return {
        "EMARSYS_BASE_URL": f"{url}/api",
        "EMARSYS_TOKEN_URL": f"{url}/oauth2/token",
        "EMARSYS_CLIENT_ID": EMARSYS_CLIENT,
        "EMARSYS_CLIENT_SECRET": EMARSYS_SECRET,
    }


def _add_sendgrid_fields(sandbox: SandboxProcess) -> dict[str, str]:
    url = f"{sandbox.url}/v3/marketing/field_definitions"
    kinds = {PLAN: "Text", VISITS: "Number"}
    return {name: str(_post(url, {"name": name, "field_type": kind})["id"]) for name, kind in kinds.items()}


def _add_loops_fields(sandbox: SandboxProcess) -> dict[str, str]:
    for name, kind in ((PLAN, "string"), (VISITS, "number")):
        _post(f"{sandbox.url}/api/v1/contacts/properties", {"name": name, "type": kind})
    return {PLAN: PLAN, VISITS: VISITS}


def _add_emarsys_fields(sandbox: SandboxProcess) -> dict[str, str]:
    made = {PLAN: (101, "shorttext"), VISITS: (102, "numeric")}
    sandbox.dials(emarsys_fields=[{"id": number, "name": name, "kind": kind} for name, (number, kind) in made.items()])
    return {name: str(number) for name, (number, _) in made.items()}


def _post(url: str, content: Mapping[str, str]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    asked = Request(url, orjson.dumps(content), headers)  # noqa: S310 - our own sandbox
    with build_opener(ProxyHandler({})).open(asked) as answer:
        return dict(orjson.loads(answer.read()))


SENDGRID = DemoPlatform(
    "sendgrid", sendgrid_variables, _add_sendgrid_fields, names={"phone": "phone_number"}, nested="custom_fields"
)
LOOPS = DemoPlatform(
    "loops", loops_variables, _add_loops_fields, names={"first_name": "firstName", "last_name": "lastName"}
)
EMARSYS = DemoPlatform(
    "emarsys",
    emarsys_variables,
    _add_emarsys_fields,
    names={
        "email": "3",
        "first_name": "1",
        "last_name": "2",
        "address_line_1": "10",
        "city": "11",
        "state_province_region": "12",
        "postal_code": "13",
        "phone": "15",
    },
    nested="fields",
    absent="",
)
