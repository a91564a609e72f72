"""An engine made from variables and a configuration file, as a process makes it at its start, and what it sends."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from support.in_process import Harness
from support.peer import Peer, reply, speak_to

from contact_ingest import enqueue
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.model.http_message import Request, Response

KEYS: Mapping[str, Mapping[str, Any]] = {
    "sendgrid": {"api_key": "SG.key"},
    "loops": {"api_key": "loops-key"},
    "emarsys": {"client_id": "id", "client_secret": "word"},
}
#: A record that every platform takes.
RECORD = {"email": "ann@example.com", "first_name": "Ann"}


def answer(request: Request) -> Response:
    """A platform at which everything goes well."""
    if request.endpoint == "token":
        return reply(200, {"access_token": "token", "expires_in": 3600})
    if "/imports/" in request.url:
        return reply(200, {"status": "completed"})
    if request.method == "PUT":
        return reply(202, {"job_id": "job-1", "success": True, "replyCode": 0, "data": {"ids": ["1"]}})
    return reply(200, {"custom_fields": [], "data": [], "replyCode": 0})


class Configured:
    """Starts an engine again and again, each with its own variables and file, and on an empty Redis."""

    def __init__(self, client: "Redis[bytes]", folder: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
        self.client, self.folder, self._monkeypatch, self._redis_url = client, folder, monkeypatch, redis_url
        self._engine: Engine | None = None
        self.peer = Peer(answer)

    def start(self, platform: str = "sendgrid", /, env: Mapping[str, str] | None = None, **table: Any) -> Harness:
        """An engine with one destination, `shop`, and these settings in its table. Variables are named in full."""
        self.close()
        self.client.flushall()
        lines = [
            f"{name} = {_toml(value)}" for name, value in {"platform": platform, **(table or KEYS[platform])}.items()
        ]
        (self.folder / "contact-ingest.toml").write_text("\n".join(["[destinations.shop]", *lines]) + "\n")
        with self._monkeypatch.context() as patched:
            patched.chdir(self.folder)
            for name, value in {"REDIS_URL": self._redis_url, **(env or {})}.items():
                patched.setenv(name, value)
            self._engine = Engine(Settings.load())
            self._engine.validate()
        set_engine(self._engine)
        harness = Harness(self._engine)
        self.peer = Peer(answer)
        speak_to(self.peer, harness, custom_fields=True)
        return harness

    def sent(self, platform: str, /, env: Mapping[str, str] | None = None, record: Any = None, **more: Any) -> Request:
        """The signed upsert that carries one record, from a destination with these settings beside its keys."""
        self.start(platform, env, **{**KEYS[platform], **more})
        self.send([RECORD if record is None else record])
        return next(request for request in self.peer.heard if request.endpoint == "upsert")

    def send(self, records: Any) -> None:
        """Enqueue, aggregate and dispatch."""
        enqueue(records)
        assert self._engine is not None
        runtime = self._engine.runtime("shop")
        for lane in self.client.hkeys(runtime.store.keys("lanes")):
            runtime.schedule.flush(lane.decode())
            runtime.aggregator.aggregate(lane.decode())
        runtime.dispatcher.dispatch("shop")

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def body_of(request: Request) -> Any:
    return json.loads(b"".join(request.body))


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + " }"
    return json.dumps(value)


class Cases(dict[str, Callable[..., None]]):
    """The case of each setting, by the setting's name in the documentation."""

    def of(self, *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Keep the function below as the case of these settings."""

        def keep(show: Callable[..., None]) -> Callable[..., None]:
            for name in names:
                assert name not in self
                self[name] = show
            return show

        return keep

    def distinct(self) -> list[Callable[..., None]]:
        return list(dict.fromkeys(self.values()))
