"""What a worker's ticker looks at once a minute, so that a disaster at run time is heard: a server that evicts, and
keys that went back to an older state. When a worker starts it also looks for records that no configuration names.

What is found goes into the log. `status`, `health` and the doctor look for themselves; only that keys went back has to
be remembered for them, in the field `went_back_at` of the destination's `state`.
"""

import logging
from collections.abc import Iterable, Iterator

from contact_ingest.model.http_message import utc
from contact_ingest.operations.doctor import redis
from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, RuntimeProtocol, wrong
from contact_ingest.operations.doctor.strangers import remedy, strangers_of
from contact_ingest.store.integrity.install import Stranded, register
from contact_ingest.store.integrity.marks import Marks, forget_went_back, note_went_back, read_marks

log = logging.getLogger("contact_ingest.watch")

#: How long `status` and the doctor tell that keys went back, ms: a day.
TOLD_MS = 86_400_000


class Watch:
    """The look of one worker. It remembers the marks of each destination from one look to the next."""

    def __init__(self, engine: EngineProtocol) -> None:
        self._engine = engine
        self._marks: dict[str, Marks] = {}

    def start(self) -> None:
        """The first look: also at destinations that nobody is configured for."""
        for found in strangers_of(self._engine, most_keys=0):  # an ACL need not allow a worker to scan
            log.error(
                "records of a destination that is not configured",
                extra={"destination": found.destination, **found.counts, "remedy": remedy(found)},
            )
        self.look()

    def look(self) -> None:
        """Log what is wrong now."""
        policy = redis.policy_of(self._engine.client)
        if policy.level == "wrong":
            log.critical("redis may evict records", extra={"says": policy.says, "remedy": policy.remedy})
        register(self._engine.client, self._engine.settings.key_prefix, self._engine.settings.destinations)
        for runtime in self._engine.runtimes():
            self._look_at(runtime)

    def _look_at(self, runtime: RuntimeProtocol) -> None:
        before, now = self._marks.get(runtime.name), read_marks(runtime.store)
        self._marks[runtime.name] = now
        now_ms = runtime.clock.now_ms()
        told_ms = int(runtime.state.read().get("went_back_at", 0))
        if before is not None and before.went_back(now):
            note_went_back(runtime.store, now_ms)
            log.critical(
                WENT_BACK,
                extra={"destination": runtime.name, "remedy": WENT_BACK_REMEDY},
            )
        elif told_ms and not 0 <= now_ms - told_ms < TOLD_MS:
            forget_went_back(runtime.store)


WENT_BACK = "keys of the destination went back to an older state or were deleted"
#: What to do after that.
WENT_BACK_REMEDY = (
    "find out who emptied or restored the server; enqueue again what came since the state that is there now, since "
    "upserts may be repeated"
)


def warnings(engine: EngineProtocol, strangers: Iterable[Stranded]) -> Iterator[str]:
    """What `status` says of the server and of destinations as a whole. `strangers` are not configured."""
    policy = redis.policy_of(engine.client)
    if policy.level == "wrong":
        yield f"Redis may evict records: {policy.says}. Remedy: {policy.remedy}."
    for runtime in engine.runtimes():
        if "went_back_at" in runtime.state.read():
            yield f"Destination {runtime.name}: {WENT_BACK}. Remedy: {WENT_BACK_REMEDY}."
    for found in strangers:
        yield f"Destination {found.destination} is not configured and has {found.says}. Remedy: {remedy(found)}."


def check_marks(runtime: RuntimeProtocol) -> Iterator[Finding]:
    """For the doctor: whether a worker has seen that keys went back, within the last day."""
    at_ms = runtime.state.read().get("went_back_at")
    if at_ms is not None:
        yield wrong(f"{runtime.name}: keys", f"{WENT_BACK}, seen at {utc(int(at_ms))}", WENT_BACK_REMEDY)
