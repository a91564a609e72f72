"""Fixtures of the tests in this folder."""

import pytest


@pytest.fixture
def put(tmp_path):
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write
