"""The accounts: each with contacts, custom fields and lists of its own. One key reaches them all, by `on-behalf-of`."""

from dataclasses import dataclass, field

from contact_ingest.sandbox.sendgrid.contacts import Contacts

MAIN = "sendgrid"


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """A custom field. `usable_from` is a reading of the monotonic clock."""

    id: str
    name: str
    kind: str
    usable_from: float


@dataclass(slots=True, repr=False)
class Account:
    """`first_field` makes the ids of custom fields differ between accounts, as they do on the platform."""

    name: str
    first_field: int
    contacts: Contacts = field(default_factory=Contacts)
    fields: list[FieldDefinition] = field(default_factory=list)
    lists: dict[str, str] = field(default_factory=dict)

    def usable_kinds(self, now: float) -> dict[str, str]:
        return {each.id: each.kind for each in self.fields if each.usable_from <= now}


class Accounts:
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
