"""Speed, and nothing else: `python -m benchmarks NAME [options]`, from the root of the repository.

    packing        bodies of many contacts, to the byte, against one dump of the whole list
    enqueue        what a producer pays for each record
    aggregate      from waiting records to finished bodies, step by step, and a whole round on a server
    backlog        a waiting backlog drained by a real worker: speed, fill of the bodies, memory
    hot_contacts   a lane some of whose contacts are updated again and again
    bad_records    bad records that no reply names, at random places of a backlog
    lanes          thousands of lanes: what a batch and a tick cost Redis, and how long books take

Each prints a table, or JSON with `--json`. `python -m benchmarks NAME --help` lists its options.
"""

import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = ("packing", "enqueue", "aggregate", "backlog", "hot_contacts", "bad_records", "lanes")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that the first argument names. Returns the exit code: 1 where a promise is broken."""
    match arguments:
        case [name, *options] if name in NAMES:
            # The tools that the tests have too: workers as processes, tables, memory.
            sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
            signal.signal(signal.SIGTERM, _stop)
            return int(importlib.import_module(f"benchmarks.{name}").main(options))
        case [] | ["-h" | "--help"]:
            print(__doc__)
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


def _stop(*_: object) -> None:
    """A benchmark that is told to stop ends the processes that it has started."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
