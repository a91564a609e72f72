"""What the way to the platform, its gateway and its import jobs do wrong. The proxy counts what it spoils; the
sandbox's journal tells of the rest."""

import time
from collections.abc import Callable

from plan import Kind, Turn
from redis.exceptions import RedisError
from support.troubles import Kind as Spoiling
from terms import DELAY_S, LATE_S, ORPHANED_S, OVERDUE_S
from world import World

COMES_BY_S = 6.0
LATE_SHARE = 0.9
SHAPES = ("csv_semicolon", "json_array", "json_lines", "nested_json", "gzip", "bom", "upper", "html")
ASK = b"GET /v3/marketing/contacts/imports/"
#: Where import jobs are, and where a body has more than one contact.
JOBS, BODIES = ("sendgrid",), ("sendgrid", "emarsys")

Inflict = Callable[[World, Turn], str | None]


def _spoils(name: str, kind: Spoiling, pattern: bytes = b"") -> Inflict:
    """On the wire, at the proxy: an upsert, or a request with a pattern."""

    def inflict(world: World, turn: Turn) -> str | None:
        draw = turn.draw
        after = draw.randint(250, 2_500) if kind == "reset" else draw.randint(5, 200)
        pause_s = draw.uniform(0.2, DELAY_S) if kind == "delay" else draw.choice((0.0005, 0.002, 0.02))
        with world.lock(kind):
            before = world.http.struck[kind]
            late = _late(world, turn) if kind in ("swallow", "half_close") and not pattern else []
            world.append("job_script", late)
            world.http.spoil(kind, pattern or world.platform.upsert, after=after, pause_s=pause_s)
            struck = until(world, lambda: world.http.struck[kind] > before)
            world.http.calm(kind)
            if struck and late:
                world.update_recent(f"{name}-{turn.ordinal}")
            return name if struck else None

    return inflict


def _scripted(name: str, label: str, *faults: tuple[str, ...]) -> Inflict:
    """At the platform's gate: the next requests meet these."""

    def inflict(world: World, turn: Turn) -> str | None:
        with world.lock(label):
            before = world.journal.met[label]
            late = _late(world, turn) if label in ("drop_after", "acted", "unreadable") else []
            world.append("job_script", late)
            world.append("script", turn.of(faults))
            struck = until(world, lambda: world.journal.met[label] > before)
            if struck and late:
                world.update_recent(f"{name}-{turn.ordinal}")
            return name if struck else None

    return inflict


def _job(name: str, *fates: str) -> Inflict:
    """The next import job goes so."""

    def inflict(world: World, turn: Turn) -> str | None:
        fate = turn.of(fates)
        label = f"job {fate}"
        with world.lock(label):
            before = world.journal.met[label]
            world.append("job_script", [fate])
            if not until(world, lambda: world.journal.met[label] > before):
                return None
            if fate in ("failed", "all_failed"):
                # What is retried later must take nothing from what has come since.
                world.update_recent(f"{name}-{turn.ordinal}")
            return name

    return inflict


def _late(world: World, turn: Turn) -> list[float]:
    """The job of a request whose fate nobody knows: more often than not it outlasts the request that is sent again."""
    late = [turn.draw.uniform(*LATE_S)] if turn.draw.random() < LATE_SHARE else []
    return late if world.platform.has_jobs else []


def _orphaned(world: World, turn: Turn) -> str | None:
    """A request that arrives long after its sender has given it up."""
    with world.lock("orphaned"):
        before = world.http.struck["delay"]
        trouble = world.http.spoil("delay", world.platform.upsert, pause_s=turn.draw.uniform(*ORPHANED_S))
        struck = until(world, lambda: not trouble.left)
        world.http.forgive(trouble)
        if not struck or world.http.struck["delay"] == before:
            return None
        world.update_recent(f"orphaned-{turn.ordinal}")
        return "orphaned"


def _overdue(world: World, turn: Turn) -> str | None:
    with world.lock("job overdue"):
        before = world.journal.met["job overdue"]
        world.append("job_script", [turn.draw.uniform(*OVERDUE_S)])
        if not until(world, lambda: world.journal.met["job overdue"] > before):
            return None
        world.update_recent(f"job_overdue-{turn.ordinal}")
        return "job_overdue"


def _file(name: str, *shapes: str) -> Inflict:
    """Error files look like this until one of them has been fetched."""

    def inflict(world: World, turn: Turn) -> str | None:
        shape = turn.of(shapes)
        with world.lock("shape"):
            before = world.journal.met[f"file {shape}"]
            world.dial(error_file_shape=shape)
            struck = until(world, lambda: world.journal.met[f"file {shape}"] > before)
            world.dial(error_file_shape="csv")
            return name if struck else None

    return inflict


def _too_large(world: World, turn: Turn) -> str | None:
    with world.lock("413"):
        before = world.journal.met["413"]
        world.dial(hidden_byte_cap=turn.draw.randint(1_000, 3_000))
        world.rest(turn.draw.uniform(1, 2))
        struck = until(world, lambda: world.journal.met["413"] > before, 3)
        world.dial(hidden_byte_cap=None)
        return "too_large" if struck else None


def _unauthorized(world: World, _: Turn) -> str | None:
    """For a while; then somebody says that it works again."""
    with world.lock("401"), world.standing():
        before = world.journal.met["401"]
        world.dial(auth_down=True)
        struck = until(world, lambda: world.journal.met["401"] > before)
        world.rest(0.5)
        world.dial(auth_down=False)
        for _ in range(10):
            # A reply that was on its way may stop it once more.
            if is_stopped(world):
                world.operator.order("resume", lane=None)
            world.rest(0.1)
        return "unauthorized" if struck else None


def is_stopped(world: World) -> bool:
    try:
        return bool(world.client.hget(world.store.keys("state"), "state") == b"stopped")
    except RedisError:
        return True


def until(world: World, struck: Callable[[], bool], within_s: float = COMES_BY_S) -> bool:
    gives_up_s = time.monotonic() + within_s
    while not struck():
        if time.monotonic() > gives_up_s or world.calm.is_set():
            return struck()
        time.sleep(0.05)
    return True


KINDS = (
    Kind(
        "dropped_before",
        "HTTP connection dropped before acting",
        _scripted("dropped_before", "drop_before", ("drop_before",)),
    ),
    Kind(
        "dropped_after",
        "HTTP connection dropped after acting",
        _scripted("dropped_after", "drop_after", ("drop_after",)),
    ),
    Kind("timeout_before", "HTTP time-out before acting", _spoils("timeout_before", "black_hole")),
    Kind("timeout_after", "HTTP time-out after acting", _spoils("timeout_after", "swallow")),
    Kind(
        "black_holed",
        "a platform that accepts and never answers",
        _scripted("black_holed", "black_hole", ("black_hole",)),
    ),
    Kind("reset_in_body", "HTTP connection reset in mid-body", _spoils("reset_in_body", "reset")),
    Kind("half_closed", "HTTP connection half-closed", _spoils("half_closed", "half_close")),
    Kind("dripping", "HTTP reply byte by byte", _spoils("dripping", "drip")),
    Kind("truncated", "HTTP reply truncated", _spoils("truncated", "truncate")),
    Kind("orphaned", "HTTP request that arrives long after its time-out", _orphaned),
    Kind("request_late", "HTTP request delayed", _spoils("request_late", "delay")),
    Kind("poll_timeout", "time-out of a question about a job", _spoils("poll_timeout", "swallow", ASK), platforms=JOBS),
    Kind("storm_429", "storm of 429", _scripted("storm_429", "429", ("429",) * 2, ("429",) * 4)),
    Kind("storm_5xx", "storm of 5xx", _scripted("storm_5xx", "5xx", ("500", "503", "502"), ("503",) * 5)),
    Kind("acted_5xx", "502 or 504 after acting", _scripted("acted_5xx", "acted", ("502_after",), ("504_after",) * 2)),
    Kind("too_large", "413 with a hidden cap", _too_large, platforms=BODIES),
    Kind("unauthorized", "401 for a while", _unauthorized),
    Kind("unreadable", "unreadable 2xx", _scripted("unreadable", "unreadable", ("unreadable",))),
    Kind("job_pending", "job pending for ever", _job("job_pending", "pending"), 1.5, platforms=JOBS),
    Kind("job_overdue", "job that ends after the deadline of asking", _overdue, 1.3, platforms=JOBS),
    Kind("job_lost", "job not to be found (404)", _job("job_lost", "lost"), 1.3, platforms=JOBS),
    Kind("job_failed", "job failed as a whole", _job("job_failed", "failed"), 1.3, platforms=JOBS),
    Kind(
        "job_lies",
        "job that lies about its counts",
        _job("job_lies", "one_more", "one_fewer", "all_failed"),
        1.5,
        platforms=JOBS,
    ),
    Kind(
        "file_shape",
        f"error file of another shape ({len(SHAPES)} shapes)",
        _file("file_shape", *SHAPES),
        1.3,
        platforms=JOBS,
    ),
    Kind("file_truncated", "error file truncated", _file("file_truncated", "truncated"), 2.2, platforms=JOBS),
)
