"""`contact-ingest` and `python -m contact_ingest`: the command line, or one line that says what to install for it."""

import sys
from importlib import import_module

from contact_ingest.config.extras import install_hint

#: The exit code of wrong use, as of the command line itself.
EXIT_USAGE = 2


def main() -> None:
    try:
        command_line = import_module("contact_ingest.cli")
    except ModuleNotFoundError as problem:
        hint = install_hint(problem)
        if hint is None:
            raise
        sys.stderr.write(f"error: {hint}\n")
        raise SystemExit(EXIT_USAGE) from None
    command_line.main()


if __name__ == "__main__":
    main()
