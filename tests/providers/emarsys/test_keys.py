"""Keys that Emarsys writes otherwise than they were sent name their row, if they fit one row and no other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.provider_emarsys import EXTERNAL, PATIENT, emarsys, prepared

from contact_ingest.model.verdicts import RowError


def places(sent, quoted, *, identity=EXTERNAL):
    name = "email" if identity is None else "external_id"
    config = {} if identity is None else {"identity": identity}
    rows = [prepared({name: key}, **config).encoded for key in sent]
    return emarsys(**config).find_rows(rows, [RowError("reply_2009", "race", key) for key in quoted])


@pytest.mark.parametrize(
    ("sent", "quoted", "row"),
    [
        (["0012", "13"], "12", 0),
        (["13", "12"], "0012", 1),
        (["000", "1"], "0", 0),
        (["Ab-7", "Ab-8"], "ab-7", 0),
        ([" x7", "x8"], "x7", 0),
        (["x8", "x7"], " x7 ", 1),
    ],
)
def test_a_key_written_otherwise_names_the_one_row_that_it_fits(sent, quoted, row):
    assert places(sent, [quoted]) == [[row]]


@pytest.mark.parametrize(
    "quoted", ["ANN@b\u00fccher.example", "ann@xn--bcher-kva.example", " Ann@B\u00dcCHER.example "]
)
@pytest.mark.parametrize("sent", ["ann@xn--bcher-kva.example"])
def test_both_forms_of_a_domain_are_one_key(sent, quoted):
    assert places(["bob@x.org", sent], [quoted], identity=None) == [[1]]


@pytest.mark.parametrize(
    ("sent", "quoted", "found"),
    [
        (["0012", "012"], ["12"], [[]]),
        (["0012", "12"], ["12"], [[1]]),
        (["0012", "12"], ["12", "012"], [[1], []]),
        (["0012", "7"], ["12", "012"], [[], []]),
        (["0012"], ["0012", "12"], [[0], []]),
        (["Ab", "aB"], ["AB"], [[]]),
        (["0012"], ["", "1", "120"], [[], [], []]),
        (["k-1"], ["\u212a-1"], [[]]),
        (["12"], ["\uff11\uff12", "12\xa0"], [[], []]),
    ],
)
def test_a_key_that_fits_several_rows_or_none_names_nobody(sent, quoted, found):
    assert places(sent, quoted) == found


@PATIENT
@given(sent=st.lists(st.text("012aB \u00e4", min_size=1, max_size=4), min_size=1, max_size=6, unique=True))
def test_a_key_quoted_as_it_was_sent_names_its_own_row_whatever_the_others_are(sent):
    assert places(sent, sent) == [[row] for row in range(len(sent))]
