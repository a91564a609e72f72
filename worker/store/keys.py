"""Every key in Redis, and every field of every hash.

Three kinds of keys lie under the prefix (`CONTACT_INGEST_KEY_PREFIX`, by default `contact-ingest`):

    contact-ingest:<key>                        of the installation        INSTALL_KEYS
    contact-ingest:{<destination>}:<key>        of one destination         DESTINATION_KEYS
    contact-ingest:{limit-<account>}:<key>      of one platform account    ACCOUNT_KEYS

The braces are a hash tag: all keys of a destination lie in one slot, so that one script may change them together.
`contact-ingest:broker:*` belongs to the message broker and is not listed here.

Moments are milliseconds of the server's clock, with the offset `clock_offset` added (see store/clock.py). Numbers are
written as decimal text. Examples of the formats:

    lane              newsletter, or newsletter+1f2e3d4c where the lane has options of its own
    record id         newsletter:17: the lane and the number of the record in it; numbers begin at 0
    waiting:<lane>    {"email":"ann@example.com","city":"Wien"}; an empty element is a cancelled record
    held:<lane>       17<TAB>{"email":...}; where records were merged into it, or where it has failed before:
                      [17,[12,15],1,1790000000000,9,[["city",15,9]]]<TAB>{"email":...}, which is
                      [number, merged, attempts, first_ms, packed_version, field_versions] (see model/record.py)
    epochs:<lane>     1f2e3d4c5b6a7980 -> 17: numbers from 17 on were given out in that epoch; the last 64 are kept
    arrivals:<lane>   17:1790000000000: the record 17 came at that moment; at most one element a second
    idempotency:<id>  17:3:<digest>: the call appended 3 records from number 17 on; the digest is theirs
                      <id> is <lane>:<key or random id>:<number of the call>
    batch:<n>         lane newsletter, root 4, parent 2, state polling, rows 2000, sending [[0,2000]], suspects [],
                      parked [], fence 2, attempts 1, claims_count 1, job 7c6b..., sent_ms 1790000000000, polls 3
    sending           [[0,2000],[2100,2200]]: rows 0 to 1999 and 2100 to 2199 of the body of the root
    failures          three lines: what happened as JSON, the record, the record as sent (see model/failure.py)
    workers           host:4711 -> [1790000000.25, 4]: seconds of the last heartbeat, exchanges at once
    due:<stage>       batch number (or lane) -> the moment; while a worker has the batch, the end of its lease

`tests/support/keyspace.py` compares these lists with the keys of a live server.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property

from contact_ingest.model.lane import DESTINATION_NAME

#: Grows when the meaning of a key changes. Workers refuse a keyspace of another number.
SCHEMA = 3
#: The counters of a lane that add up: `accepted` is the sum of those after it, without `unattributed`.
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
#: Counters beside the books: calls that were counted once although they came again; values that were left out.
EXTRA_COUNTERS = ("repeated", "dropped")
#: The sorted sets in which batches wait. A batch in flight is in exactly one of them.
DUE_BATCHES = (
    *("due:dispatch", "due:dispatch:low", "due:dispatch:stopped", "due:dispatch:trial"),
    *("due:poll", "due:poll:low"),
)
#: Those of them in which a batch waits to be sent.
DUE_DISPATCH = DUE_BATCHES[:4]
#: What the body of a batch consists of: key `batch:<n>:<part>`.
BODY_PARTS = ("body", "offsets", "records", "digests")

_LANE = DESTINATION_NAME.pattern + r"(?:\+[0-9a-f]{8})?"
#: What the words in angle brackets stand for.
_WORDS = {
    "lane": _LANE,
    "n": r"[1-9][0-9]*",
    "stage": r"(?:dispatch|poll|aggregate:" + _LANE + ")",
    "endpoint": r"[a-z_]+",
}
_ANYTHING = r"(?s:.+)"


class Expiry(StrEnum):
    """Whether a key lapses by itself."""

    NEVER = "never"
    ALWAYS = "always"
    #: Parts of a body lapse until the commit that makes them a batch.
    UNTIL_COMMIT = "until commit"


@dataclass(frozen=True)
class KeySpec:
    """One kind of key. `pattern` is the key without its base; words in angle brackets stand for anything of that name.
    `fields` are those of a hash, and may hold such words as well."""

    pattern: str
    type: str
    holds: str
    fields: tuple[str, ...] = ()
    expires: Expiry = Expiry.NEVER

    def matches(self, key: str) -> bool:
        """Whether a key, without its base, is of this kind."""
        return self._regex.fullmatch(key) is not None

    def field_pattern(self, name: str) -> str | None:
        """The listed pattern that a field of the hash matches, or None: `failed:upsert` matches `failed:<endpoint>`."""
        if name in self.fields:
            return name
        return next((field for field in self.fields if "<" in field and _regex_of(field).fullmatch(name)), None)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return _regex_of(self.pattern)


@cache
def _regex_of(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", pattern)
    texts = [re.escape(part) if at % 2 == 0 else _WORDS.get(part, _ANYTHING) for at, part in enumerate(parts)]
    return re.compile("".join(texts))


_BATCH_FIELDS = (
    *("lane", "root", "parent"),  # the lane; the batch whose body holds the rows; the batch that these rows come from
    *("state", "rows", "bytes"),  # ready sending polling fetching_errors done; rows and bytes of the body
    *("sending", "suspects", "parked"),  # ranges of rows: sent next, searched for a bad record, sent later
    *("group_size", "good_in_a_row"),  # of a search: rows sent at once, requests that went well since the last bad one
    *("accused", "accepted"),  # rows refused alone; 1: something of the search was accepted since
    *("accused_ms", "put_behind"),  # when a row was first refused alone; 1: it has gone behind others of the lane
    *("fence", "token", "attempts"),  # grows with claim and settle; who has the claim; exchanges that count
    "phase",  # of the claim of a suspect batch: sent (the request is out), replied
    *("claims_count", "requests"),  # claims that may have sent something: of the batch; of the whole root
    *("parts", "packed_version", "orphan_until"),  # of a root: batches not ended; `version` then; fate unknown until
    *("created_ms", "first_ms", "sent_ms", "ended_ms"),  # made; sent first; sent last; ended
    *("sent_bytes", "request_id", "code"),  # of the last exchange: bytes, what the platform calls it, why it failed
    *("retry_after_given", "failures_in_a_row", "hints_followed"),  # 1: the platform named the time; how often
    "low_priority",  # 1: one of many parts of a body, behind fresh traffic
    *("job", "job_status", "polls"),  # the import: its id, its last status, how often it was asked about
    *("errors_url", "ended_at_platform_ms"),  # where its error file is; when it was seen to have ended
    *("platform_failed_count", "all_failed", "reason"),  # what the platform says of failed rows (-1: nothing)
    "unvouched",  # rows that the platform does not count among those of the job
    *("delivered", "failed", "unattributed"),  # how the rows ended
)

INSTALL_KEYS = (
    KeySpec("schema", "string", "number of the schema: see SCHEMA"),
    KeySpec("workers", "hash", "worker -> its last heartbeat", ("<worker>",)),
    KeySpec("accounts", "hash", "worker -> {destination: digest of its account} as JSON", ("<worker>",)),
    KeySpec("destinations", "hash", "destination -> 1; all that producers and workers ever had", ("<destination>",)),
)

#: On the clock of a destination and of an account.
_CLOCK_KEYS = (
    KeySpec("clock_offset", "string", "ms added to the server's clock: how far that was set back in all"),
    KeySpec("clock_last", "string", "the latest moment seen, to the second"),
    KeySpec("clock_setback", "string", "how much of clock_offset makes up for a clock that was set back, ms"),
)

DESTINATION_KEYS = (
    KeySpec("version", "string", "grows with every commit, settle, retry and cancel"),
    KeySpec("batch_seq", "string", "the last batch number given out"),
    KeySpec("identity_salt", "string", "secret of the identity digests: 16 bytes"),
    KeySpec("epoch", "hash", "which epoch numbers are given out in, and the server's run_id then", ("id", "run_id")),
    *_CLOCK_KEYS,
    KeySpec("lanes", "hash", "lane -> its options as JSON", ("<lane>",)),
    KeySpec(
        "state",
        "hash",
        # state: paused, stopped, or missing while it runs; why, code: the reason; probe_at: when the platform is asked
        # again; probe_gap: ms between such probes; wait_until: the rate limiter sends nothing before;
        # cap_bytes, cap_at: the largest body a 413 has taught, and when; slots: exchanges at once; doubt: likeness of
        # a refusal that may concern the account, doubt_lane, doubt_root, doubt_at: of which lane and root batch, and
        # when; trial_at: when the next stopped lane is tried before all else;
        # went_back_at: when a worker saw that keys were of an older state, or deleted;
        # account, accepted_accounts: digests of accounts, see integrity/accounts.py
        "whether the destination runs, and what it has learned",
        (
            *("state", "why", "code", "probe_at", "probe_gap", "wait_until", "poll_wait_until"),
            *("cap_bytes", "cap_at", "slots", "went_back_at", "account", "accepted_accounts"),
            *("doubt", "doubt_lane", "doubt_root", "doubt_at", "trial_at"),
        ),
    ),
    KeySpec(
        "lane:<lane>",
        "hash",
        # head: how many records were ever cut off the front of the lane. bytes: the bytes of the records that wait.
        # flush: records with a smaller number leave without waiting for a fuller body. held_at: when the last commit
        # left a record held, ms; 0 after a flush or a retry. paused: why the lane is paused. retry_cursor: the number
        # from which the next round reads retried records. max_wait: the longest wait for a fuller body, ms.
        # accepted_at: when the platform last accepted something of the lane. doubt, doubts: likeness of the last
        # refusal of a record alone, and how many alike there were since. stop_code, stop_why, stop_kind: why the
        # platform stopped the lane, for a wrong option or for doubt. try_at, try_gap: when a batch is tried, ms
        # between such trials. trial, trials: that batch, and how many there were.
        "counters and settings of a lane",
        (
            *("head", "bytes", "flush", "held_at", "paused", "retry_cursor", "max_wait"),
            *("accepted_at", "doubt", "doubts", "stop_code", "stop_why", "stop_kind"),
            *("try_at", "try_gap", "trial", "trials"),
        ),
    ),
    KeySpec("waiting:<lane>", "list", "records as enqueued, oldest first"),
    KeySpec("retry:<lane>", "zset", "number of a retried failure -> the same number; the record lies in failures"),
    KeySpec("held:<lane>", "list", "records of contacts in flight, oldest first"),
    # Keys that an earlier release of this schema wrote lack both; the first sweep of a worker adds the lanes.
    KeySpec("held_lanes", "zset", "lane in which something is held or retried -> version since which it waits"),
    KeySpec("released", "string", "the version at which contacts last left `inflight`"),
    KeySpec("arrivals:<lane>", "list", "when records came"),
    KeySpec("epochs:<lane>", "zset", "epoch -> the first number that was given out in it"),
    KeySpec("books:<lane>", "hash", "counters of the lane's records", (*BOOKS, *EXTRA_COUNTERS)),
    KeySpec("due:aggregate", "zset", "lane -> when it is aggregated"),
    KeySpec("due:dispatch", "zset", "batch -> when it is sent"),
    KeySpec("due:dispatch:low", "zset", "the same for parts of bodies that are searched for long"),
    KeySpec(
        "due:dispatch:stopped", "zset", "batch of a paused or stopped lane -> a number made of the name of the lane"
    ),
    KeySpec("due:dispatch:trial", "zset", "the one batch of each stopped lane that is tried -> when it is sent"),
    KeySpec("due:poll", "zset", "batch -> when its import is asked about"),
    KeySpec("due:poll:low", "zset", "the same for parts of bodies that are searched for long"),
    KeySpec("inflight", "hash", "identity digest -> root batch that has a record of the contact", ("<digest>",)),
    KeySpec("links", "hash", "identity digest -> the contact's identifiers", ("<digest>",), Expiry.ALWAYS),
    KeySpec("links:old", "hash", "those of before, until `links` is full again", ("<digest>",), Expiry.ALWAYS),
    KeySpec("quarantine", "zset", "ended root whose fate is unknown -> when its contacts leave `inflight`"),
    KeySpec("claims", "zset", "token of an exchange under way -> when its lease ends"),
    KeySpec("batches", "zset", "batch -> when it was made"),
    KeySpec("batch:<n>", "hash", "one batch", _BATCH_FIELDS),
    KeySpec("batch:<n>:body", "string", "of a root: the rows as they are sent", (), Expiry.UNTIL_COMMIT),
    KeySpec("batch:<n>:offsets", "string", "of a root: where each row begins, uint32", (), Expiry.UNTIL_COMMIT),
    KeySpec("batch:<n>:records", "string", "of a root: its records, a line each as in held", (), Expiry.UNTIL_COMMIT),
    KeySpec("batch:<n>:digests", "string", "of a root: the digests it put into inflight", (), Expiry.UNTIL_COMMIT),
    KeySpec("batch:<n>:error_file", "string", "the import's error file until the batch ends", (), Expiry.ALWAYS),
    KeySpec("failures", "hash", "record id -> failed record, also while it is tried again", ("<record>",)),
    KeySpec("failures:by_time", "zset", "record id -> when it failed last; without those that are tried again"),
    KeySpec("failures:digests", "hash", "record id -> its identity digests", ("<record>",)),
    KeySpec("failures:by_digest", "hash", "identity digest -> ids of failed records, space between", ("<digest>",)),
    KeySpec("custom_fields", "string", "the account's custom fields as JSON", (), Expiry.ALWAYS),
    KeySpec("access_token", "string", "the token requests are signed with, as JSON", (), Expiry.ALWAYS),
    KeySpec("intake_allowance", "string", "bytes to take before memory is measured again", (), Expiry.ALWAYS),
    KeySpec("idempotency:<id>", "string", "what a call of enqueue appended", (), Expiry.ALWAYS),
    KeySpec("wakeup:<stage>", "string", "how many wake-ups were sent lately and not consumed", (), Expiry.ALWAYS),
    # What a migration leaves where schema 2 had a list and a number: see migrations/schema_3.py.
    KeySpec("wait:<lane>", "string", "a sentence on which a producer of schema 2 fails"),
    KeySpec("room", "hash", "the same sentence", ("moved",)),
)

ACCOUNT_KEYS = (
    *_CLOCK_KEYS,
    KeySpec("permits:<endpoint>", "zset", "permit, or <permit>:settled -> when its window ends"),
    KeySpec(
        "rate:<endpoint>",
        "hash",
        # limit, remaining, reset_at: as the last reply said; window: ms a permit is held for after its reply;
        # window_next, window_at: longest of late, and since when; doubtful: a reset that waits to be confirmed, ms;
        # silent 1: replies name no limit;
        # refusals: 429 in a row; blocked_until: nothing is sent before
        "what replies taught about the rate limit",
        (
            *("limit", "remaining", "reset_at", "window", "window_next", "window_at"),
            *("doubtful", "silent", "refusals", "blocked_until"),
        ),
    ),
    KeySpec(
        "breaker",
        "hash",
        # open_until: missing while it is closed; probe, probe_until: the permit that asks, and its lease;
        # failed:<endpoint>: failures in a row; until:<endpoint>: that endpoint alone waits
        "the circuit breaker",
        ("open_until", "probe", "probe_until", "failed:<endpoint>", "until:<endpoint>"),
    ),
    KeySpec("outage", "hash", "the last outage; no `ended` while it lasts", ("began", "ended")),
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of one destination's keys: `Keys("contact-ingest", "newsletter")("version")` is
    `contact-ingest:{newsletter}:version`."""

    prefix: str
    destination: str
    #: What every key of the destination begins with: `contact-ingest:{newsletter}:`.
    base: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", f"{self.prefix}:{{{self.destination}}}:")

    def __call__(self, name: str) -> str:
        return self.base + name


def account_keys(prefix: str, account: str) -> Keys:
    """Names of the keys that all destinations of a platform account share."""
    return Keys(prefix, f"limit-{account}")


def install_base(prefix: str) -> str:
    """The base of keys that belong to no destination."""
    return f"{prefix}:"


def spec_of(prefix: str, key: str) -> KeySpec | None:
    """The kind of a whole key, or None for one that is not listed."""
    found = re.fullmatch(re.escape(prefix) + r":(?:\{([^{}]+)\}:)?(.+)", key, re.DOTALL)
    if found is None:
        return None
    tag, rest = found[1], found[2]
    kinds = INSTALL_KEYS if tag is None else ACCOUNT_KEYS if tag.startswith("limit-") else DESTINATION_KEYS
    return next((spec for spec in kinds if spec.matches(rest)), None)
