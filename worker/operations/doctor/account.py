"""Checks of what the settings say of an account: the lists that lanes name, and the fields that settings name.

Each list costs one cheap request. The reply of a platform that does not tell is a note, and never a fault.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from contact_ingest.config.destinations import Destination
from contact_ingest.errors import TransportError
from contact_ingest.model.http_message import Request
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.operations.doctor.findings import Finding, RuntimeProtocol, note, ok, wrong
from contact_ingest.providers.base import AccountLists, FieldsInSettings
from contact_ingest.store.lanes import all_lane_options

#: Most lists of one destination that are asked for.
MOST_LISTS = 50


def check_settings(runtime: RuntimeProtocol, table: FieldTable | None) -> Iterator[Finding]:
    """Whether the account has the fields that settings of the destination name. `table` holds the account's fields,
    None if the platform did not tell them."""
    if table is None or not isinstance(runtime.provider, FieldsInSettings):
        return
    for setting, named in runtime.provider.missing_fields(table).items():
        yield wrong(
            f"{runtime.name}: {setting}",
            f"names field {named}, which the account lacks: no contact can be sent",
            f"set destinations.{runtime.name}.{setting} to the number of a field of the account",
        )


def check_lists(runtime: RuntimeProtocol, configured: Destination) -> Iterator[Finding]:
    """Whether the account has the lists that its lanes name: the lane of the settings, and every lane in use."""
    provider = runtime.provider
    if not isinstance(provider, AccountLists):
        return
    about = f"{runtime.name}: lists"
    look_ups: dict[str, Request] = {}
    for options in _lanes(runtime, configured):
        look_ups.update(provider.lists_of(options))
    missing, unknown = [], 0
    for list_id, request in list(look_ups.items())[:MOST_LISTS]:
        reply = runtime.exchanger.send(request, None)
        has = None if isinstance(reply, TransportError) else provider.has_list(list_id, reply)
        missing += [list_id] if has is False else []
        unknown += has is None
    if missing:
        yield wrong(
            about,
            f"the account lacks {len(missing)} that lanes name: {', '.join(missing)}",
            f"mend the lists in destinations.{runtime.name}, or create them; then `contact-ingest resume`",
        )
    if unknown:
        yield note(about, f"whether the account has {unknown} of them, the platform does not tell")
    if look_ups and not missing and not unknown:
        yield ok(about, f"the account has all {min(len(look_ups), MOST_LISTS)} that were looked up")


def _lanes(runtime: RuntimeProtocol, configured: Destination) -> Iterator[Mapping[str, Any]]:
    """The options of the configured lane, and of every lane that ever had a record."""
    lists = {"list_ids": configured.list_ids} if configured.list_ids else {}
    yield runtime.provider.lane_options(**configured.lane, **lists)
    yield from all_lane_options(runtime.store)
