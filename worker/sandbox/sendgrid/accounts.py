"""The accounts, each with its own contacts, custom fields and lists.

One key opens all accounts; the header `on-behalf-of` names the account.
"""

from dataclasses import dataclass, field

from contact_ingest.sandbox.sendgrid.contacts import Contacts
from contact_ingest.sandbox.sendgrid.dials import SendGridDials

MAIN = "sendgrid"


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """A custom field. The upsert knows it from `usable_from` on, in seconds of the monotonic clock."""

    id: str
    name: str
    kind: str
    usable_from: float


@dataclass(slots=True, repr=False)
class Account:
    """An account. `first_field` is the number in the id of its first custom field.

    The ids of created fields differ between accounts, as they do on the platform. `created` are the fields that
    requests have created.
    """

    name: str
    first_field: int
    contacts: Contacts = field(default_factory=Contacts)
    created: list[FieldDefinition] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)

    def fields(self, dials: SendGridDials) -> list[FieldDefinition]:
        """All custom fields: those of the dials, and those that requests have created."""
        return [*(FieldDefinition(each.id, each.name, each.kind, 0) for each in dials.custom_fields), *self.created]

    def usable_kinds(self, now: float, dials: SendGridDials) -> dict[str, str]:
        """The type of each custom field that the upsert knows, by the id of the field."""
        return {each.id: each.kind for each in self.fields(dials) if each.usable_from <= now}


class Accounts:
    """All accounts by name. Reading an unknown account creates it."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def __getitem__(self, name: str) -> Account:
        if name not in self._accounts:
            self._accounts[name] = Account(name, 1 + 100 * len(self._accounts) * (name != MAIN))
        return self._accounts[name]

    def existing(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def contact_count(self) -> int:
        return sum(len(account.contacts) for account in self._accounts.values())

    def clear(self) -> None:
        self._accounts.clear()


def account_name(on_behalf_of: str) -> str:
    return f"{MAIN}:{on_behalf_of}" if on_behalf_of else MAIN
