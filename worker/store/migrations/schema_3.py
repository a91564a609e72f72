"""From schema 2 to schema 3: every key and field gets its new name. No value moves through this program, except the
first line of a failure.

The keyspace must be at rest: no worker lives and no batch is in flight. Records that wait, are held, have failed or are
to be tried again stay as they are; so do settled batches, contacts in quarantine, books, limits and idempotency keys
with their time to live.

Each step is one transaction that leaves a keyspace from which the next run can go on; every step looks first whether it
is still needed. So a migration may be killed at any moment and run again. Keys are found with SCAN, a page at a time:
memory is bounded, and no command holds the server for long. In order:

1. `schema` becomes 23, so that neither release works on these keys.
2. Every lane's `wait:<lane>` becomes `waiting:<lane>`, and a sentence takes its place; so does a hash that of `room`.
   A producer of the old release fails on them (its LLEN and its GET are refused) before it has written anything, so it
   appends nothing where no worker reads.
3. All other keys, fields and failures are renamed, until a pass finds nothing old.
4. Lanes in which something is held or retried are put into `held_lanes`.
5. `schema` becomes 3.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import WatchError

from contact_ingest.errors import IngestError
from contact_ingest.store.keys import SCHEMA, Keys, install_base
from contact_ingest.store.lanes import mend_held_lanes
from contact_ingest.store.migrations import MIGRATING, read_schema
from contact_ingest.store.migrations.schema_3_names import (
    BATCH_FIELDS,
    DESTINATION_KEYS,
    LANE_FIELDS,
    QUEUES,
    new_failure,
    new_name,
)
from contact_ingest.store.scripts import Store
from contact_ingest.store.workers import GONE_S, Workers

#: Keys read, and keys renamed, at a time.
PAGE = 500
#: Failures rewritten at a time: a record may be large.
FAILURES_AT_ONCE = 50

#: What stands under `wait:<lane>` afterwards, and in the hash `room`: both stop a producer of the old release before it
#: writes, the one for lanes that there are, the other for lanes that it would begin.
TRIPWIRE = (
    "contact-ingest: these keys were migrated to schema 3, and records that wait are in waiting:<lane>. A program that "
    "fails here is a producer of an older release: upgrade it."
)


#: Called after each step: what was done, and to how many keys, failures or lanes.
Progress = Callable[[str, int], None]


class MigrationRefused(IngestError):  # noqa: N818 - says what is known
    """The keyspace cannot be migrated as it is. Nothing was changed; the text says what to do."""


@dataclass(slots=True)
class Survey:
    """What a migration found. `schema` is the number before it, None where there was none. `left` counts the keys that
    still have old names; the rest counts what a destination holds."""

    prefix: str
    schema: str | None
    left: int = 0
    destinations: dict[str, dict[str, int]] = field(default_factory=dict)
    accounts: set[str] = field(default_factory=set)

    @property
    def is_needed(self) -> bool:
        return self.schema != str(SCHEMA) and (self.schema is not None or self.left > 0)

    def public(self) -> dict[str, Any]:
        return {
            "prefix": self.prefix,
            "from": self.schema,
            "to": SCHEMA,
            "keys": self.left,
            "accounts": len(self.accounts),
            "destinations": self.destinations,
        }


class Migration:
    """The migration of one keyspace. `configured` are destinations at which producers of the older release are to be
    stopped too, although nothing lies there yet. Several runs at once do no harm."""

    def __init__(
        self,
        client: Any,
        prefix: str,
        progress: Progress = lambda _what, _count: None,
        configured: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._configured = configured
        self._progress = progress
        self._tagged = re.compile(re.escape(prefix) + r":\{([^{}]+)\}:(.+)", re.DOTALL)

    def survey(self) -> Survey:
        """Look, and change nothing. Raises `MigrationRefused` if the keyspace is not at rest."""
        found = Survey(self._prefix, read_schema(self._client, self._prefix))
        if found.schema == str(SCHEMA):
            return found
        if found.schema not in (None, "2", str(MIGRATING)):
            raise MigrationRefused(
                f"the keys under {self._prefix} are of schema {found.schema}, which this release cannot migrate"
            )
        self._refuse_live_workers()
        for tag, names in self._pages():
            if tag.startswith("limit-"):
                found.accounts.add(tag)
            else:
                found.destinations.setdefault(tag, {})
            old = [name for name in names if self._is_old(tag, name)]
            self._targets(Keys(self._prefix, tag), old)  # a conflict is found before anything is moved
            found.left += len(old)
        if not found.is_needed:
            return found
        for name in self._configured:
            found.destinations.setdefault(name, {})
        for name in sorted(found.destinations):
            keys = Keys(self._prefix, name)
            self._refuse_in_flight(keys)
            found.destinations[name] = self._contents(keys)
        return found

    def run(self) -> Survey:
        """Migrate; returns what was found before. A keyspace that needs nothing stays as it is."""
        found = self.survey()
        if not found.is_needed:
            return found
        schema = f"{install_base(self._prefix)}schema"
        if self._client.set(schema, MIGRATING, get=True) == b"%d" % SCHEMA:
            self._client.set(schema, SCHEMA)  # another run has ended meanwhile
            return found
        self._progress("schema", 1)
        for name in sorted(found.destinations):
            self._move_lanes(Keys(self._prefix, name))
        while self._rename_all():
            pass
        for name in sorted(found.destinations):
            self._rewrite_failures(Keys(self._prefix, name))
            mend_held_lanes(Store(self._client, Keys(self._prefix, name)))
        self._client.set(schema, SCHEMA)
        self._progress("done", 1)
        return found

    # --- Looking ------------------------------------------------------------------------------------------------------

    def _pages(self) -> Iterator[tuple[str, list[str]]]:
        """All keys of destinations and accounts: (name in braces, keys without base), a page at a time."""
        cursor = 0
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix) + ":*"
        while True:
            cursor, keys = self._client.scan(cursor, match=pattern, count=PAGE)
            groups: dict[str, list[str]] = {}
            for key in keys:
                if found := self._tagged.fullmatch(key.decode(errors="replace")):
                    groups.setdefault(found[1], []).append(found[2])
            yield from groups.items()
            if cursor == 0:
                return

    def _is_old(self, tag: str, name: str) -> bool:
        return new_name(tag, name) is not None and not self._is_tripwire(tag, name)

    def _is_tripwire(self, tag: str, name: str) -> bool:
        kind = b"hash" if name == "room" else b"string" if name.startswith("wait:") else None
        return kind is not None and self._client.type(Keys(self._prefix, tag)(name)) == kind

    def _refuse_live_workers(self) -> None:
        live = [worker.name for worker in Workers(self._client, self._prefix).members() if worker.silent_s < GONE_S]
        if live:
            raise MigrationRefused(
                f"workers are alive: {', '.join(sorted(live)[:5])}. Stop all workers and producers, wait "
                f"{GONE_S:g} seconds, then run `contact-ingest migrate` again"
            )

    def _refuse_in_flight(self, keys: Keys) -> None:
        """A batch in flight is known by its queue, or by its state where a queue has lost it."""
        queued = sum(int(self._client.zcard(keys(name))) for old in QUEUES for name in (old, DESTINATION_KEYS[old]))
        moving = queued or sum(state != b"done" for state in self._batch_states(keys))
        if moving:
            raise MigrationRefused(
                f"{keys.destination} has {moving} batches in flight. Drain it with the release that wrote it: stop the "
                "producers; `contact-ingest resume` what is paused or stopped; with its workers running, "
                "`contact-ingest flush --wait`; stop the workers. Then run `contact-ingest migrate` again"
            )

    def _batch_states(self, keys: Keys) -> Iterator[bytes | None]:
        start = 0
        while numbers := self._client.zrange(keys("batches"), start, start + PAGE - 1):
            pipe = self._client.pipeline(transaction=False)
            for number in map(int, numbers):
                pipe.hget(keys(f"b:{number}"), "state")
                pipe.hget(keys(f"batch:{number}"), "state")
            answers = pipe.execute()
            yield from (old or new or b"done" for old, new in zip(answers[::2], answers[1::2], strict=True))
            start += PAGE

    def _contents(self, keys: Keys) -> dict[str, int]:
        """What lies at a destination, under either name."""
        found: Counter[str] = Counter()
        for lane in self._lanes(keys):
            for what, names in (("waiting", ("wait", "waiting")), ("held", ("held",))):
                for name in names:
                    key = keys(f"{name}:{lane}")
                    found[what] += int(self._client.llen(key)) if self._client.type(key) == b"list" else 0
            found["retry"] += sum(int(self._client.zcard(keys(f"{name}:{lane}"))) for name in ("again", "retry"))
            found["lanes"] += 1
        found["failures"] = sum(int(self._client.zcard(keys(n))) for n in ("failed:at", "failures:by_time"))
        found["batches"] = int(self._client.zcard(keys("batches")))
        return dict(found)

    def _lanes(self, keys: Keys) -> list[str]:
        return sorted(name.decode() for name in self._client.hkeys(keys("lanes")))

    # --- Moving -------------------------------------------------------------------------------------------------------

    def _move_lanes(self, keys: Keys) -> None:
        """Move what waits, and leave the sentence in its place; rename the fields of the lane."""
        for lane in self._lanes(keys):
            while not self._move_lane(keys, lane):
                pass  # another run moved it between the look and the transaction: look again
            self._progress("lane", 1)
        if self._client.type(keys("room")) != b"hash":
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(keys("room"))
            pipe.hset(keys("room"), "moved", TRIPWIRE)
            pipe.execute()
            self._progress("producers stopped", 1)

    def _move_lane(self, keys: Keys, lane: str) -> bool:
        """Move one lane, unless another run does so in the same moment: then nothing is done. What is moved is what was
        looked at, since Redis watches both keys in between: a second run must never move the sentence over the list."""
        old, new, state = keys(f"wait:{lane}"), keys(f"waiting:{lane}"), keys(f"lane:{lane}")
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(old, state)
            kind, fields = pipe.type(old), pipe.hgetall(state)
            if kind == b"list":
                self._targets(keys, [f"wait:{lane}"])
            pipe.multi()
            if kind == b"list":
                pipe.renamenx(old, new)
            if kind != b"string":
                pipe.set(old, TRIPWIRE)
            _rename_fields(pipe, state, fields, LANE_FIELDS)
            try:
                pipe.execute()
            except WatchError:
                return False
        return True

    def _rename_all(self) -> int:
        """One pass over all keys; returns how many had old names."""
        renamed = 0
        for tag, names in self._pages():
            keys = Keys(self._prefix, tag)
            old = [name for name in names if self._is_old(tag, name)]
            for start in range(0, len(old), PAGE):
                moved = self._rename(keys, old[start : start + PAGE])
                self._progress("keys", moved)
                renamed += moved
        return renamed

    def _rename(self, keys: Keys, names: Sequence[str]) -> int:
        """Rename keys of one destination or account in one transaction; returns how many. RENAME keeps the time to
        live."""
        batches = [name for name in names if name.startswith("b:") and name.count(":") == 1]
        pipe = self._client.pipeline(transaction=False)
        for name in batches:
            pipe.hgetall(keys(name))
        fields = dict(zip(batches, pipe.execute(), strict=True))
        targets = self._targets(keys, names)
        pipe = self._client.pipeline(transaction=True)
        for name, new in targets.items():
            if not new:
                pipe.delete(keys(name))
                continue
            pipe.renamenx(keys(name), keys(new))
            if name in fields:
                _rename_fields(pipe, keys(new), fields[name], BATCH_FIELDS)
        for answer in pipe.execute(raise_on_error=False):
            # A key may lapse between the look and the transaction; the others of the transaction were renamed.
            if isinstance(answer, Exception) and "no such key" not in str(answer):
                raise answer
        return len(targets)

    def _targets(self, keys: Keys, names: Sequence[str]) -> dict[str, str]:
        """Old and new names of those keys that are there: SCAN may give a key twice, and one that has lapsed. Raises
        `MigrationRefused` if there is a key of the new name already."""
        named = {name: new for name in names if (new := new_name(keys.destination, name)) is not None}
        pipe = self._client.pipeline(transaction=True)  # of one moment: another run may be renaming
        for name, new in named.items():
            pipe.exists(keys(name))
            pipe.exists(keys(new or name))
        answers = pipe.execute()
        found = {}
        for (name, new), is_there, is_taken in zip(named.items(), answers[::2], answers[1::2], strict=True):
            if is_there:
                found[name] = new
            if is_there and new and is_taken:
                raise MigrationRefused(
                    f"both {keys(name)} and {keys(new)} exist: programs of both releases have written. Look at them, "
                    "move what is in the one into the other by hand, then run `contact-ingest migrate` again"
                )
        return found

    def _rewrite_failures(self, keys: Keys) -> None:
        cursor = 0
        while True:
            cursor, page = self._client.hscan(keys("failures"), cursor, count=FAILURES_AT_ONCE)
            changed = {record: new for record, blob in page.items() if (new := new_failure(blob)) is not None}
            if changed:
                self._client.hset(keys("failures"), mapping=changed)
                self._progress("failures", len(changed))
            if cursor == 0:
                return


def _rename_fields(pipe: Any, key: str, found: Mapping[bytes, bytes], names: Mapping[str, str]) -> None:
    """Put the renaming of a hash's fields into a transaction."""
    for old, new in names.items():
        value = found.get(old.encode())
        if value is not None:
            pipe.hset(key, new, value)
            pipe.hdel(key, old)
