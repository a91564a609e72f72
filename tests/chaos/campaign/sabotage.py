"""Promises broken on purpose, to see that the checker finds out: `--sabotage`.

One record is said to be applied and is not; one good record is refused in the platform's own words; and in the end one
contact gets back an older value, and another one the value of somebody else.
"""

import json
import time
from typing import Any

from platforms import http_reply
from support.checker import Sent
from support.waiting import wait_until
from world import World

#: Any number of requests, and how long they may take to come.
ALL, COMES_BY_S = 10**9, 15.0


def during(world: World) -> None:
    """While records flow: one is lost, and one is blamed."""
    wait_until(lambda: any(entry["job_id"] for entry in world.journal.entries()) or not world.platform.has_jobs, 10)
    _meets(
        world,
        "lost",
        http_reply(202 if world.platform.has_jobs else 200, json.dumps(_applied(world)), "application/json"),
    )
    _meets(world, "blamed", world.platform.quotas[0])


def after(world: World) -> None:
    """When all has come to rest: an older value over a newer one, and a value of another contact."""
    name = world.platform.dialect.texts[0]
    firm = [s for s in world.history.sent if not s.is_loose and not s.contact.startswith("id:") and name in s.fields]
    older = next(s for s in firm if any(_supersedes(newer, s, name) for newer in firm))
    another = next(s for s in firm if s.contact != older.contact)
    victim = next(s for s in reversed(firm) if s.contact not in (older.contact, another.contact))
    world.account.write(older.contact, name, older.fields[name])
    world.account.write(victim.contact, name, another.fields[name])
    time.sleep(1.0)  # the job of a platform that has jobs


def _supersedes(newer: Sent, older: Sent, name: str) -> bool:
    return (newer.lane, newer.contact) == (older.lane, older.contact) and newer.seq > older.seq and name in newer.fields


def _meets(world: World, name: str, reply: bytes) -> None:
    """Every request with a record of its own meets this reply."""
    call = world.traffic(f"sabotage-{name}").lone()
    trouble = world.http.answer(reply, call.made[0].contact.encode(), ALL)
    lane, first = world.enqueue(call)
    wait_until(lambda: trouble.left < ALL, COMES_BY_S)
    if name == "blamed":
        failed = f"{lane}:{first}"
        wait_until(lambda: any(f.id == failed for f in world.sampler.look_at_failures()), COMES_BY_S)
    world.http.forgive(trouble)


def _applied(world: World) -> dict[str, Any]:
    """A reply by which the platform says that it has applied one contact."""
    match world.platform.name:
        case "sendgrid":
            return {"job_id": next(entry["job_id"] for entry in world.journal.entries() if entry["job_id"])}
        case "loops":
            return {"success": True, "id": "c1"}
        case _:
            return {"replyCode": 0, "replyText": "OK", "data": {"ids": [1]}}
