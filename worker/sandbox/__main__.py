"""`python -m contact_ingest.sandbox`: serves the sandbox on a port of this machine."""

import argparse
import json
from typing import Any

from contact_ingest.sandbox.dials import DialError
from contact_ingest.sandbox.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m contact_ingest.sandbox", description="A strict stand-in of the platforms."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--fd", type=int, help="serve on this listening socket instead")
    parser.add_argument("--key", action="append", default=[], help="accept this key only; may be repeated")
    parser.add_argument("--seed", type=int, help="the same as --dial seed=N")
    parser.add_argument(
        "--dial", type=_dial, action="append", default=[], metavar="NAME=JSON", help="turn a dial; may be repeated"
    )
    parser.add_argument("--owner-pid", type=int, help="end when this parent process ends")
    options = parser.parse_args()
    dials = dict(options.dial) | ({} if options.seed is None else {"seed": options.seed})
    try:
        serve(
            options.host,
            options.port,
            fd=options.fd,
            keys=options.key,
            dials=dials,
            owner_pid=options.owner_pid,
        )
    except DialError as error:
        parser.error(str(error))


def _dial(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name}: the value is not JSON") from None


if __name__ == "__main__":
    main()
