"""The keyspace, written out once. Every key of a destination carries one hash tag, so that a script touches one slot.

`B` is `<prefix>:{<destination>}:`. Times are milliseconds of the server's clock.

    B v                 string  version: grows with every commit, settle, retry and cancel
    B serial            string  the last batch number given out
    B salt              string  the key of the identity digests
    B clock             string  offset in ms added to the server's clock: what it was set back by; tests set it too
    B seen, lead        string  last moment seen, to the second; how much of the offset is for a clock set back
    B lanes             hash    lane -> its options as JSON
    B dest              hash    state, why, probe_at, wait_until, cap_bytes, cap_at, slots
    B lane:<lane>       hash    head (records ever cut), bytes (waiting), flush (seq), held_at, paused,
                                again_at (seq at which to go on among the retried)
    B wait:<lane>       list    waiting records as enqueued; an empty element is a cancelled one
    B again:<lane>      zset    seq of a retried failure -> seq; the record itself stays under `failed`
    B held:<lane>       list    records of contacts that are in flight, oldest first
    B marks:<lane>      list    "seq:ms", when that record came; one a second at most
    B books:<lane>      hash    the books: accepted waiting held batched delivered merged unchanged failed discarded
                                unattributed, and repeated (calls counted once), dropped (fields left out)
    B aggdue            zset    lane -> when it is to be aggregated
    B due, polls        zset    batch -> when it is due: to be sent, to be asked about; its lease
    B later, polls:later zset   the same, for parts of bodies that are searched for long: behind fresh traffic
    B free              zset    root -> when its contacts stop being busy (orphans)
    B busy              hash    identity digest -> root batch in flight with it
    B active            zset    claim -> when it lapses: exchanges under way
    B batches           zset    batch -> when it was made
    B b:<n>             hash    a batch; B b:<n>:body, :rows, :entries, :keys are the blobs of a root;
                                B b:<n>:file is the error file of its import, kept until the batch ends
    B failed            hash    record id -> failure (JSON, record, mapped: three lines), also while it is tried again
    B failed:at         zset    record id -> when it failed last; without those that are tried again
    B failed:keys       hash    record id -> its identity digests
    B failed:by         hash    identity digest -> ids of records in `failed`, space between
    B fields            string  custom field definitions of the account
    B token             string  the token requests are signed with; expires
    B room              string  bytes that intake may take before memory is measured again; expires
    B call:<id>         string  "first:count" of an enqueue call; expires
    B bell:<what>       string  how many bells have been rung lately and not been heard; expires

What all destinations of an account share lies under `L`, which is `<prefix>:{limit-<account>}:`.

    L clock, seen, lead string  as above
    L permits:<endpoint> zset   permit -> when it lapses: requests under way, and those whose window is not over
    L rate:<endpoint>   hash    limit, remaining, reset_at, window, window_next, window_at, silent, refusals,
                                blocked_until: what replies taught
    L breaker           hash    open_until while it is open; probe, probe_until: who asks; failed:<endpoint> in a row,
                                until:<endpoint> while that endpoint alone fails
    L outage            hash    began and ended of the last outage
"""

from dataclasses import dataclass

#: Grows when the meaning of a key changes; workers refuse a keyspace of another number.
SCHEMA = 3
BOOKS = (
    "accepted",
    "waiting",
    "held",
    "batched",
    "delivered",
    "merged",
    "unchanged",
    "failed",
    "discarded",
    "unattributed",
)
#: Keys that must expire by themselves, and why nothing else leaks: everything not listed is permanent or freed by name.
EXPIRING = ("idempotency:", "wakeup:", "intake_allowance", "access_token", "custom_fields")


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of one destination's keys."""

    prefix: str
    destination: str

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.destination}}}:"

    def __call__(self, name: str) -> str:
        return self.base + name
