"""The doctor: `examine` looks for everything that can be wrong with an install, `check_health` answers a container's
health check, and `refuse_unsafe_store` is the check that can keep a worker from starting.

The doctor changes nothing. A server that does not answer is a finding, and ends only the checks that need that server.
"""

import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from redis.exceptions import RedisError

from contact_ingest.config.destinations import none_configured
from contact_ingest.errors import SettingError
from contact_ingest.operations.doctor import (
    account,
    accounts,
    broker,
    deployment,
    destination,
    lost_keys,
    records,
    redis,
    strangers,
)
from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, live_workers, ok, wrong
from contact_ingest.operations.doctor.watch import check_marks
from contact_ingest.store.redis_server import describe_problem
from contact_ingest.store.workers import GONE_S

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether Redis answers and a worker's ticker runs. `says` is one line for a person."""

    healthy: bool
    says: str


def examine(engine: EngineProtocol, *, recount: bool = False) -> Iterator[Finding]:
    """All checks, one finding after the other. `recount` also counts every key, and takes its time."""
    try:
        yield from _check_store(engine)
    except RedisError as problem:
        yield _unreachable("redis", "REDIS_URL", problem)
        for runtime in engine.runtimes():
            yield destination.check_account(runtime)[0]
        return
    try:
        yield from broker.check_broker(engine)
    except RedisError as problem:
        yield _unreachable("broker", "CELERY_BROKER_URL", problem)
    if not engine.settings.destinations:
        yield wrong("destinations", "none is configured", str(none_configured()))
    try:
        yield from strangers.check_strangers(engine)
        yield from accounts.check_accounts(engine)
    except RedisError as problem:
        yield _unreachable("destinations", "REDIS_URL", problem)
    for runtime in engine.runtimes():
        answers, table = destination.check_account(runtime)
        yield answers
        yield from account.check_settings(runtime, table)
        try:
            if answers.level == "ok":
                yield from account.check_lists(runtime, engine.settings.destinations[runtime.name])
            yield from destination.check_state(runtime)
            yield from check_marks(runtime)
            yield from lost_keys.check_lost(runtime, recount=recount)
            yield destination.check_platform(runtime)
            yield from destination.check_lanes(runtime, engine.settings)
            yield from records.check_late(runtime)
            yield from records.check_fields(runtime, table)
            yield from destination.check_batches(runtime, engine.settings)
            yield from destination.check_staged(runtime)
            yield from records.check_retention(runtime, engine.settings)
            yield destination.check_failures(runtime)
            yield from destination.check_books(runtime, recount=recount)
        except RedisError as problem:
            yield _unreachable(f"{runtime.name}: keys", "REDIS_URL", problem)


def check_health(engine: EngineProtocol, *, fleet: bool = False) -> Health:
    """A quick check for containers: whether Redis answers and a worker of this machine, by its host name, was heard of.
    With `fleet`, a worker of any machine will do. The platform is not asked."""
    try:
        workers = live_workers(engine)
    except RedisError as problem:
        return Health(healthy=False, says=describe_problem(problem))
    host = socket.gethostname()
    counted = workers if fleet else [worker for worker in workers if worker.name.rpartition(":")[0] == host]
    if not counted:
        of_host = "" if fleet else f" of this machine ({host})"
        others = f"; elsewhere there are {len(workers)}, which --fleet counts" if workers else ""
        return Health(
            healthy=False, says=f"Redis answers; no worker{of_host} has been heard of for {GONE_S:g} s{others}"
        )
    policy = redis.policy_of(engine.client)
    if policy.level == "wrong":
        return Health(healthy=False, says=policy.says)
    heard_s = min(worker.silent_s for worker in counted)
    return Health(healthy=True, says=f"Redis answers; workers: {len(counted)}, last heard of {heard_s:.1f} s ago")


def refuse_unsafe_store(engine: EngineProtocol) -> None:
    """Keep a worker from working on a server that evicts records or is too old, or on keys of another schema.

    Raises `SettingError` then. Raises `RedisError` if the server does not answer: the caller has to check again.
    """
    too_old = redis.is_too_old(engine.client)
    if too_old:
        raise SettingError("REDIS_URL", too_old)
    found = redis.policy_of(engine.client)
    match found.level:
        case "wrong":
            raise SettingError("REDIS_URL", found.says)
        case "note":
            log.warning("maxmemory-policy cannot be checked: the ACL forbids CONFIG; it must be noeviction")
        case "ok":
            pass
        case _:
            assert_never(found.level)
    engine.check_schema()


def _check_store(engine: EngineProtocol) -> Iterator[Finding]:
    engine.client.ping()
    yield ok("redis", "answers")
    yield from redis.check_server(engine)
    yield from deployment.check_setup(engine)
    workers = live_workers(engine)
    if workers:
        yield ok("workers", f"{len(workers)}, for {sum(worker.slots for worker in workers)} tasks at once")
    else:
        yield wrong(
            "workers",
            f"none has been heard of for {GONE_S:g} s: what waits stays where it is",
            "start one: celery -A contact_ingest.tasks worker",
        )


def _unreachable(about: str, setting: str, problem: RedisError) -> Finding:
    """A finding in our own words. The error's text is left out: it may quote what the server was sent."""
    return wrong(
        about,
        describe_problem(problem),
        f"check {setting}: that the server runs, its port, password, ACL and certificates",
    )
