"""What can be wrong with an install, found before it hurts: the doctor's round, the health of a container, and the one
thing for which a worker refuses to start.

Promises to look only, and to go on where it can: what does not answer is a finding, and ends only what depends on it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from redis.exceptions import RedisError

from contact_ingest.config.destinations import none_configured
from contact_ingest.errors import SettingError
from contact_ingest.operations.doctor import broker, deployment, destination, records, redis
from contact_ingest.operations.doctor.findings import Finding, Install, alive, ok, wrong
from contact_ingest.store.workers import GONE_S

log = logging.getLogger("contact_ingest.operations.doctor")


@dataclass(frozen=True, slots=True)
class Health:
    """Whether Redis answers and a worker ticks, in one line."""

    healthy: bool
    says: str


def examine(engine: Install, *, recount: bool = False) -> Iterator[Finding]:
    """The whole round, one finding after the other."""
    try:
        yield from _check_store(engine)
    except RedisError as problem:
        yield _unreachable("redis", "REDIS_URL", problem)
        for place in engine.runtimes():
            yield destination.check_account(place)[0]
        return
    try:
        yield from broker.check_broker(engine)
    except RedisError as problem:
        yield _unreachable("broker", "CELERY_BROKER_URL", problem)
    if not engine.settings.destinations:
        yield wrong("destinations", "none is configured", str(none_configured()))
    for place in engine.runtimes():
        account, table = destination.check_account(place)
        yield account
        try:
            yield from destination.check_state(place)
            yield destination.check_platform(place)
            yield from destination.check_lanes(place, engine.settings)
            yield from records.check_late(place)
            yield from records.check_fields(place, table)
            yield from destination.check_batches(place, engine.settings)
            yield from destination.check_staged(place)
            yield from records.check_retention(place, engine.settings)
            yield destination.check_failures(place)
            yield from destination.check_books(place, recount=recount)
        except RedisError as problem:
            yield _unreachable(f"{place.name}: keys", "REDIS_URL", problem)


def take_pulse(engine: Install) -> Health:
    """For containers: quick, and without the platform."""
    try:
        there = alive(engine)
    except RedisError as problem:
        return Health(healthy=False, says=f"Redis does not answer: {type(problem).__name__}")
    if not there:
        return Health(healthy=False, says=f"Redis answers; no worker has been heard of for {GONE_S:g} s")
    heard_s = min(member.silent_s for member in there)
    return Health(healthy=True, says=f"Redis answers; workers: {len(there)}, last heard of {heard_s:.1f} s ago")


def refuse_unsafe_store(engine: Install) -> None:
    """A worker does not start on a server that throws records away, or on keys that mean something else to it.

    Raises `SettingError`; `RedisError` if the server does not answer, which says nothing yet.
    """
    found = redis.policy_of(engine.client)
    if found.level == "wrong":
        raise SettingError("REDIS_URL", found.says)
    if found.level == "note":
        log.warning("maxmemory-policy cannot be checked: the ACL forbids CONFIG; it must be noeviction")
    engine.check_schema()


def _check_store(engine: Install) -> Iterator[Finding]:
    engine.client.ping()
    yield ok("redis", "answers")
    yield from redis.check_server(engine)
    yield from deployment.check_setup(engine)
    there = alive(engine)
    if there:
        yield ok("workers", f"{len(there)}, for {sum(member.slots for member in there)} tasks at once")
    else:
        yield wrong(
            "workers",
            f"none has been heard of for {GONE_S:g} s: what waits stays where it is",
            "start one: celery -A contact_ingest.tasks worker",
        )


def _unreachable(about: str, setting: str, problem: RedisError) -> Finding:
    """The kind of problem only: a message of the server may quote what it was sent."""
    says = f"does not answer as it should: {type(problem).__name__}"
    return wrong(about, says, f"check {setting}: that the server runs, its port, password, ACL and certificates")
