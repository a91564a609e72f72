"""Hostile records and hostile replies against the whole product: does anything fall over, leak, grow or get lost?

    python tests/chaos/hostile [--seed N] [--records N] [--replies N] [--json]

1. Records go through `enqueue`, through files on the command line, through messages of Celery, and past every check
   right into the lanes, to all platforms. A real worker (prefork, two children) takes them to the sandbox. A server
   that breaks every rule of HTTP, and error files that are traps, are two more destinations.
2. Parsed replies of every kind are read by engines in this process, on a clock that is turned forward.

Exits with 1 if a worker's log has a traceback, an error or a planted word, if a process has needed 300 MB or more, if
the books of a lane do not balance, or if a record is unaccounted for. Memory is the kernel's own peak, on Linux alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
# The tools that the tests have too, and this folder by its full name.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from chaos.hostile.found import Found
from chaos.hostile.records import attack_with_records
from chaos.hostile.replies import attack_with_replies
from support.processes import forget_environment
from support.tables import show


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    forget_environment()
    found, began = Found(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="contact-ingest-") as folder:
        attack_with_records(given.seed, given.records, found, Path(folder))
        attack_with_replies(given.seed, given.replies, found, Path(folder))
    found.judge()
    show([found.table(time.monotonic() - began)], as_json=given.json, wrong=found.wrong)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
