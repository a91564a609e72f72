"""The destinations of the attack, and this process's engine with them."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from contact_ingest.config.destinations import read
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, set_engine
from contact_ingest.store import books

KEY = "SG.hostile"
PREFIX = "hostile"
CONFIG = """
[destinations.sendgrid]
platform = "sendgrid"
api_key = "{key}"
base_url = "{sandbox}"
unknown_fields = "drop"

[destinations.loops]
platform = "loops"
api_key = "{key}"
base_url = "{sandbox}/api"
rate_limit = 100000
rate_window_s = 1

[destinations.emarsys]
platform = "emarsys"
client_id = "sandbox-client"
client_secret = "sandbox-secret"
base_url = "{sandbox}/api"
token_url = "{sandbox}/oauth2/token"
[destinations.emarsys.fields]
rename = {{ "custom_fields.plan" = "city" }}

[destinations.wire]
platform = "loops"
api_key = "{key}"
base_url = "{wire}"
rate_limit = 100000
rate_window_s = 1

[destinations.files]
platform = "sendgrid"
api_key = "{key}"
base_url = "{wire}"
"""


@contextlib.contextmanager
def wired_to(redis_url: str, config: Path, **more: float) -> Iterator[Engine]:
    """The engine of this process. Nothing but the given file and address is read."""
    values = {"max_wait_s": 0.5, "poll_first_s": 0.1, "orphan_wait_s": 1, **more}
    made = Settings(REDIS_URL=redis_url, key_prefix=PREFIX, **values)  # type: ignore[arg-type]
    engine = Engine(made.model_copy(update={"destinations": read(config)}))
    set_engine(engine)
    try:
        yield engine
    finally:
        engine.close()


def all_totals(engine: Engine) -> Counter[str]:
    found: Counter[str] = Counter()
    for runtime in engine.runtimes():
        found.update(books.totals(books.read(runtime.store)))
    return found


def settled(engine: Engine) -> bool:
    for runtime in engine.runtimes():
        if runtime.state.read().get("state") == "stopped":
            runtime.state.resume(None)  # as the person on call would
    found = all_totals(engine)
    return not any(found[name] for name in ("waiting", "held", "batched"))


def unbalanced(engine: Engine) -> list[str]:
    return [
        wrong
        for runtime in engine.runtimes()
        for lane in books.read(runtime.store)
        for wrong in books.disagreements(runtime.store, lane.lane)
    ]
