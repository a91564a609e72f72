"""The ten promises under everything that happens in production: `python tests/chaos/campaign --seed 7`.

Runs with real workers, a real Redis and the sandbox, each with its share of faults from a seeded schedule; a checker
that knows what was enqueued compares it with what arrived. See command.py for the options.
CONTACT_INGEST_TEST_REDIS=/usr/bin/redis-server runs it on another server, as it does with the tests.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# The tools that the tests have too: the checker, the proxy, traps, and workers as processes.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]


def _main(arguments: list[str]) -> int:
    """The command, or a process of its own that it has started."""
    # What is above must come first, and the children need little of this.
    match arguments:
        case ["produce", platform, seed, list_id, done]:
            from producers import mortal  # noqa: PLC0415

            mortal(platform, seed, list_id, done)
        case ["operate", platform]:
            from operators import operate  # noqa: PLC0415

            operate(platform)
        case _:
            from command import main  # noqa: PLC0415
            from support.servers import choose_server  # noqa: PLC0415

            choose_server()
            return main(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
