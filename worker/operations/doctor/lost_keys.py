"""Checks of keys that others need and that are gone, and their repair: `contact-ingest doctor --repair`."""

from collections.abc import Iterator

import orjson

from contact_ingest.config.settings import Destination
from contact_ingest.errors import SettingError
from contact_ingest.model.lane import lane_name
from contact_ingest.operations.doctor.findings import Finding, RuntimeProtocol, wrong
from contact_ingest.store.integrity.lost_keys import Lost, find_lost, mend

_REPAIR = "`contact-ingest doctor --repair`; then find out what deletes keys of Redis"


def check_lost(runtime: RuntimeProtocol, *, recount: bool) -> Iterator[Finding]:
    """Whether keys are gone. With `recount` contacts in flight and failures are looked at too."""
    about, lost = f"{runtime.name}: keys", find_lost(runtime.store, thorough=recount)
    for says in _says(lost):
        yield wrong(about, says, _REPAIR)
    for lane in lost.unlisted:
        yield wrong(
            f"lane {lane}",
            "is missing in the list of lanes: `status` does not show it, and nobody cuts it",
            _REPAIR if "+" not in lane else f"{_REPAIR}. If it stays: enqueue one record with the options of the lane",
        )
    if lost.bodies:
        yield wrong(
            about,
            f"batches {_some(lost.bodies)} have lost their bytes or records",
            "workers end them: rows fail as keys_lost and can be retried; without records they count as unattributed",
        )


def repair(runtime: RuntimeProtocol, config: Destination) -> int:
    """Mend what can be mended without a loss; returns how much that was."""
    lost = find_lost(runtime.store, thorough=True)
    return mend(
        runtime.store, lost, {lane: text for lane in lost.unlisted if (text := _options(runtime, config, lane))}
    )


def _options(runtime: RuntimeProtocol, config: Destination, lane: str) -> str:
    """The options of a lane as JSON; empty if they are not those of the configuration."""
    if "+" not in lane:
        return "{}"
    lists = {"list_ids": config.list_ids} if config.list_ids else {}
    try:
        options = runtime.provider.lane_options(**{**config.lane, **lists})
    except SettingError:
        return ""
    return orjson.dumps(dict(options)).decode() if lane_name(runtime.name, options) == lane else ""


def _says(lost: Lost) -> Iterator[str]:
    if lost.gone:
        yield f"batches {_some(lost.gone)} are due and gone: their rows stay in the books as batched"
    if lost.idle:
        yield f"batches {_some(lost.idle)} have not ended, and are in no queue: nobody sends them or asks about them"
    if lost.not_due:
        yield f"lanes {_some(lost.not_due)} have records that wait, and are in no queue: nobody cuts them"
    if lost.contacts:
        yield f"{len(lost.contacts)} identifiers count as in flight in batches that have ended: their records are held"
    if lost.failures:
        yield f"{len(lost.failures)} failures are in no order, so that no listing shows them and no retention ends them"
    if lost.ghosts:
        yield f"{len(lost.ghosts)} failures are listed and gone; a repair counts them as discarded"


def _some(names: tuple[object, ...]) -> str:
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
