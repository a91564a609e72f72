"""The diagrams draw states that exist, and all of them. The first remark of a diagram says whose states it draws."""

import re
from functools import cache

import pytest
from support.pages import blocks

from contact_ingest.model.batch import BatchState
from contact_ingest.store.keys import BOOKS

#: What ends a record, and what counts beside the records.
NOT_DRAWN = {"accepted", "unchanged", "unattributed"}
STATES = {"batch": {state.value for state in BatchState}, "books": set(BOOKS) - NOT_DRAWN}
STAGES = {"enqueue", "aggregate", "dispatch", "poll", "retry"}


@cache
def diagrams():
    found = {}
    for block in blocks("mermaid"):
        whose = re.search(r"^\s*%% states: (\w+)$", block.text, re.MULTILINE)
        assert whose, f"{block}: the diagram does not say whose states it draws"
        found[whose[1]] = block.text
    return found


def arrows(text):
    return re.findall(r"^\s*(\S+) --> (\S+?)(?:: (.+))?$", text, re.MULTILINE)


def test_both_diagrams_are_there():
    assert set(diagrams()) == set(STATES)


@pytest.mark.parametrize("whose", STATES)
def test_a_diagram_draws_the_states_of_the_code_and_no_others(whose):
    drawn = {state for start, end, _ in arrows(diagrams()[whose]) for state in (start, end)} - {"[*]"}

    assert drawn == STATES[whose]


def test_every_line_of_a_diagram_is_understood():
    for text in diagrams().values():
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        assert lines[0] == "stateDiagram-v2"
        assert [line for line in lines[1:] if not line.startswith("%%") and not arrows(line)] == []


def test_the_diagram_of_a_record_names_every_stage():
    labels = " ".join(label for _, _, label in arrows(diagrams()["books"]))

    assert {stage for stage in STAGES if stage not in labels} == set()
