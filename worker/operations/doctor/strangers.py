"""Checks of records that no configuration names: a destination or the prefix was renamed, and what waits stays where it
is."""

from collections.abc import Iterator

from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, note, wrong
from contact_ingest.store.integrity.accounts import WorkerAccounts
from contact_ingest.store.integrity.install import Stranded, stranded, stranded_elsewhere
from contact_ingest.store.workers import GONE_S, Workers


def check_strangers(engine: EngineProtocol) -> Iterator[Finding]:
    """Records of destinations that are not configured, and records under another prefix whose workers are silent."""
    prefix = engine.settings.key_prefix
    for found in strangers_of(engine, most_keys=None):
        yield wrong(
            f"destination {found.destination}", f"is in no configuration here, and has {found.says}", remedy(found)
        )
    for found in stranded_elsewhere(engine.client, prefix):
        if all(member.silent_s >= GONE_S for member in Workers(engine.client, found.prefix).members()):
            yield note(
                f"prefix {found.prefix}",
                f"destination {found.destination} has {found.says} under this prefix, and no worker of it is alive",
                f"if CONTACT_INGEST_KEY_PREFIX was changed, start a worker with {found.prefix} until all has left",
            )


def strangers_of(engine: EngineProtocol, *, most_keys: int | None) -> list[Stranded]:
    """Destinations with records that neither this configuration nor a living worker has. `most_keys` as in
    `stranded`."""
    client, prefix = engine.client, engine.settings.key_prefix
    served = WorkerAccounts(client, prefix).alive(engine.workers.members())
    return stranded(client, prefix, {*engine.settings.destinations, *served}, most_keys=most_keys)


def remedy(found: Stranded) -> str:
    """What to do about a destination that is not configured."""
    return (
        f"put [destinations.{found.destination}] back under this name in the configuration of workers and producers; "
        f"then its records are sent. If they are to go: put it back, `contact-ingest pause --to {found.destination}`, "
        "then cancel or export them"
    )
