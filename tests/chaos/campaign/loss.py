"""What a failover may lose where no replica has to acknowledge (`STORE_ACK_REPLICAS` is 0): measured, not judged."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from platforms import PLATFORMS
from producers import produce
from run import calm_down, come_to_rest
from world import World

from contact_ingest.store import books

FAILOVERS = 3
BEFORE_S, LAG_S = 3.0, 0.5


def measure(directory: Path, *, seed: int) -> list[tuple[int, int]]:
    """For each failover, how many records that were accepted nobody knows of, and of how many."""
    return [_fail_over(directory / str(number), seed * 1_000 + 900 + number) for number in range(FAILOVERS)]


def _fail_over(directory: Path, seed: int) -> tuple[int, int]:
    with World(directory, PLATFORMS["sendgrid"], seed=seed, replicated=True) as world, ThreadPoolExecutor(1) as threads:
        stop = threading.Event()
        traffic = threads.submit(
            produce, iter(world.traffic("loss")), world.platform, world.list_id, world.accepted, stop
        )
        world.crew.start()
        time.sleep(BEFORE_S)
        world.fail_over(LAG_S)
        time.sleep(BEFORE_S)
        stop.set()
        traffic.result()
        calm_down(world)
        come_to_rest(world, lambda _: None)
        accepted = books.totals(books.read(world.store))["accepted"]
        return len(world.history.sent) - accepted, len(world.history.sent)
