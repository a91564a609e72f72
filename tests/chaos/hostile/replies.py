"""The attack with replies: engines in this process read them, on a clock that is turned forward."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.hostile.engine import CONFIG, KEY, all_totals, settled, unbalanced, wired_to
from chaos.hostile.found import Found
from support.fuzz_records import CANARY, Records
from support.fuzz_replies import Replies
from support.peer import Peer, advance, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.engine import Engine
from contact_ingest.sandbox.redis_server import EmbeddedServer
from contact_ingest.store.lanes import lane_names


def attack_with_replies(seed: int, count: int, found: Found, folder: Path) -> None:
    """Each platform in turn, until enough replies were read; then honest ones, so that all comes to an end."""
    with EmbeddedServer() as server:
        for number, name in enumerate(("sendgrid", "emarsys", "loops")):
            config = folder / f"{name}.toml"
            whole = CONFIG.format(key=KEY, sandbox="http://127.0.0.1:9", wire="http://127.0.0.1:9")
            start = whole.index(f"[destinations.{name}]")
            config.write_text(whole[start : whole.find("\n\n", start)])
            with wired_to(server.url, config) as engine:
                pelt(engine, Replies(seed + number), -(-count // 3), found)
                found.totals += all_totals(engine)
                found.wrong += unbalanced(engine)


@dataclass(slots=True)
class Alone:
    """A destination in this process, in the shape that `speak_to` asks for."""

    engine: Engine

    @property
    def runtime(self) -> Any:
        return self.engine.runtime(self.engine.destinations[0])


def pelt(engine: Engine, replies: Replies, count: int, found: Found) -> None:
    harness, left, dice = Alone(engine), count, random.Random(count)

    def answer(request: Any) -> Any:
        nonlocal left
        if request.endpoint in ("definitions", "token") and dice.random() < 0.5:
            return honest(request)  # or nothing would ever be sent
        left -= 1
        kind, said = replies.reply()
        if request.endpoint == "error_file":
            kind, content = replies.error_file()
            said = type(said)(200, {}, content, 1)
        found.met[f"{request.endpoint}: {kind}"] += 1
        return said

    point_at(Peer(answer), harness)
    source, people = Records(count), 0
    gives_up_s = time.monotonic() + 600
    while left > 0:
        people += 3
        found.accepted += enqueue(
            [{"email": source.email(), "custom_fields": {"plan": "x"}} if n else source.good() for n in range(3)]
        ).accepted
        replies.values = [f"{CANARY}-{n}@hostile.example" for n in range(max(1, people - 9), people + 1)]
        turn(harness, 6)
        if time.monotonic() > gives_up_s:
            raise SystemExit(f"{left} replies are still to come")
    found.given["object: good"] += people
    point_at(Peer(honest), harness)
    while not settled(engine):
        turn(harness, 3)
        if time.monotonic() > gives_up_s:
            raise SystemExit(f"not settled: {all_totals(engine)}")


def point_at(peer: Peer, harness: Alone) -> None:
    speak_to(peer, harness, custom_fields=True)


def honest(request: Any) -> Any:
    said = {
        "upsert": {"job_id": "a", "success": True, "id": "x", "replyCode": 0, "data": {"ids": [1]}},
        "job": {"status": "completed", "results": {}},
        "token": {"access_token": "t", "expires_in": 3600},
        "definitions": {
            "custom_fields": [],
            "replyCode": 0,
            "data": [{"id": 101, "name": "a", "application_type": "x"}],
        },
    }
    content: Any = said.get(request.endpoint, {})
    if request.url.endswith("list=custom"):
        content = []
    return reply(202 if request.endpoint == "upsert" and "/v3/marketing" in request.url else 200, content)


def turn(harness: Alone, times: int) -> None:
    """Do what is due, then turn the clock by as much as any wait can last."""
    runtime = harness.runtime
    for _ in range(times):
        for name in lane_names(runtime.store):
            runtime.aggregator.aggregate(name)
        for _ in range(4):
            runtime.dispatcher.dispatch(runtime.name)
            if runtime.poller is not None:  # a platform that answers at once has nothing to be polled
                runtime.poller.poll(runtime.name)
        runtime.state.resume(None)
        advance(runtime, 1_000)
