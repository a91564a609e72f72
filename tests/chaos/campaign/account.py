"""The account at the platform: made ready as its owner would, and read in the words of the records.

Names of neutral fields in the platform's store stand here a second time on purpose: what is checked must not come from
the code that is being checked.
"""

import json
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from terms import KEY
from traffic import CUSTOM, JOINED

from contact_ingest.sandbox.process import SandboxProcess


class Account:
    def __init__(self, sandbox: SandboxProcess) -> None:
        self._sandbox = sandbox
        self._names = {"phone_number": "phone"}
        for name, kind in CUSTOM.items():
            made = self._post("field_definitions", {"name": name, "field_type": kind})
            self._names[str(made["id"])] = name
        #: The list of the second lane.
        self.list_id = str(self._post("lists", {"name": "campaign"})["id"])

    def contacts(self) -> dict[str, dict[str, Any]]:
        """What is stored, flat, by address."""
        found = {}
        for stored in self._sandbox.contacts():
            flat = {**stored, **stored["custom_fields"], **({JOINED: True} if stored["list_ids"] else {})}
            found[stored["email"]] = {self._names.get(name, name): value for name, value in flat.items()}
        return found

    def _post(self, what: str, content: dict[str, str]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        url = f"{self._sandbox.url}/v3/marketing/{what}"
        with build_opener(ProxyHandler({})).open(Request(url, json.dumps(content).encode(), headers)) as answer:
            return dict(json.loads(answer.read()))
