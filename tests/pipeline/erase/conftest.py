"""Fixtures of the tests in this folder."""

import pytest
from support.command_line import command_line


@pytest.fixture
def cli(capsys):
    """The command line; whatever it says, it names no contact."""

    def call(*args):
        said = command_line(capsys)(*args)
        assert "planted" not in (said.out + said.err).lower()
        return said

    return call
