"""Names of columns and keys: one rule for tables and JSON, and what cannot be seen in them."""

import csv
import io

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.source_files import mail, read, rejects, rows

from contact_ingest.model.record import FIELDS
from contact_ingest.sources.columns import parse_mapping
from contact_ingest.sources.files import open_source
from contact_ingest.sources.names import BY_NAME_ONLY, field_of_column, field_of_key, likely_field, trim, visible
from contact_ingest.sources.rows import RejectedRow, SourceError

BOM, ZWSP, WORD_JOINER, SOFT_HYPHEN, NBSP = "\ufeff", "\u200b", "\u2060", "\u00ad", "\u00a0"
UNSEEN = [BOM, BOM + BOM, ZWSP, WORD_JOINER, SOFT_HYPHEN, NBSP, "\u200e", "\u202a", "\u2067", "\u3164", "\u2009", "\t"]
TABLE_FIELDS = sorted(FIELDS - BY_NAME_ONLY - {"custom_fields"})


def spelled(draw_name: str, gap: str, upper: bool) -> str:
    name = draw_name.replace("_", gap)
    return name.upper() if upper else name.title()


@settings(max_examples=200, deadline=None)
@given(
    field=st.sampled_from(TABLE_FIELDS),
    gap=st.sampled_from(["_", " ", "-", "  ", " - ", NBSP]),
    upper=st.booleans(),
    edges=st.lists(st.sampled_from(UNSEEN), min_size=2, max_size=2),
)
def test_case_blanks_dashes_and_unseen_edges_do_not_change_what_a_name_means(field, gap, upper, edges):
    name = edges[0] + spelled(field, gap, upper) + edges[1]

    assert field_of_column(name) == field_of_key(name) == field


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(TABLE_FIELDS), min_size=1, max_size=5, unique=True), data=st.data())
def test_a_table_and_json_with_the_same_names_give_the_same_records(put, names, data):
    names = [name for name in names if not name.startswith("phone") and name != "alternate_emails"] or ["email"]
    edge = st.sampled_from(["", *UNSEEN])
    written = [
        data.draw(edge) + spelled(name, data.draw(st.sampled_from("_ -")), data.draw(st.booleans())) + data.draw(edge)
        for name in names
    ]
    out = io.StringIO()
    csv.writer(out).writerows([written, [f"x{place}" for place in range(len(names))]])

    table = read(put("people.csv", out.getvalue()), delimiter=",")
    objects = read(
        put("people.jsonl", orjson.dumps({name: f"x{place}" for place, name in enumerate(written)})),
    )

    assert rows(table)[0][1] == rows(objects)[0][1] == {name: f"x{place}" for place, name in enumerate(names)}


@pytest.mark.parametrize("mark", UNSEEN)
@pytest.mark.parametrize(
    "template", ["{}email,city", "email,{}city", "email,city{}", '{}"email",city', 'email,{}"city"']
)
def test_what_cannot_be_seen_at_the_edge_of_a_column_does_not_count(put, mark, template):
    path = put("people.csv", template.format(mark) + "\na@example.com,Rome\n")

    assert rows(read(path, delimiter=",")) == [(2, {"email": "a@example.com", "city": "Rome"})]


@pytest.mark.parametrize(
    ("inside", "shown"),
    [
        ("e\u200bmail", r"e\u200bmail"),
        ("e\u00admail", r"e\u00admail"),
        ("em\ufeffail", r"em\ufeffail"),
        ("e\u2060mail", r"e\u2060mail"),
        ("\u0435mail", r"\u0435mail"),
        ("e\u00a0mail", r"e\u00a0mail"),
        ("e\x07mail", r"e\u0007mail"),
        ("ema\u202eil", r"ema\u202eil"),
    ],
)
def test_what_cannot_be_seen_inside_a_name_is_shown_by_its_code_point(put, inside, shown):
    with pytest.raises(SourceError) as caught:
        open_source(put("people.csv", f"nick,{inside}\nRome,a@example.com\n"))
    assert str(caught.value).endswith(f"it has: nick, {shown}")
    assert "such as --map '#2=email'" in str(caught.value)

    path = put("people.csv", f"{inside},external_id\na@example.com,r-1\n")
    with open_source(path) as source:
        assert rows(source) == [(2, {"external_id": "r-1"})]
        assert source.ignored_columns == (shown,)
        assert "--map '#1=email'" in source.notices[-1]
    assert rows(read(path, mapping=parse_mapping(["#1=email"])))[0][1]["email"] == "a@example.com"

    (reject,) = read(put("people.jsonl", orjson.dumps({inside: "a@example.com", "external_id": "r-1"})))
    assert (reject.field, reject.code) == ("email", "bad_name")
    assert f"its key is written '{shown}'" in reject.rule
    assert "example.com" not in reject.rule


def test_names_in_other_scripts_are_shown_as_they_are():
    for name in ("E-Mail", "Größe", "почта", "電子メール", "Email地址", "ηλεκτρονικό", "Vor- und Nachname (é)"):
        assert visible(name) == trim(name) == name


@given(st.text(max_size=80))
@example("\ud800")
def test_a_shown_name_can_be_printed_and_hides_nothing(name):
    shown = visible(name)

    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize("mark", [*UNSEEN[:8], "\n"])
def test_what_cannot_be_seen_at_the_edge_of_a_key_does_not_count(put, mark):
    record = {mark + "Email" + mark: "a@example.com", mark + "plan": "pro"}
    found = read(put("people.jsonl", orjson.dumps(record)), mapping={"plan": "custom_fields.plan"})

    assert rows(found) == [(1, {"email": "a@example.com", "custom_fields": {"plan": "pro"}})]


def test_a_key_names_a_custom_field_as_a_column_does(put):
    text = '{"email": "a@example.com", "custom_fields.Plan": "pro", "Custom Fields": {"n": 1}}'

    assert rows(read(put("a.jsonl", text))) == [
        (1, {"email": "a@example.com", "custom_fields": {"n": 1, "Plan": "pro"}})
    ]


def test_keys_that_mean_no_field_stay_as_they_are(put):
    record = {"email": "a@example.com", "firstName": "A", "E-mail": "x", "plan": 1, "": 2, " odd ": 3}

    assert rows(read(put("a.jsonl", orjson.dumps(record)))) == [(1, record)]


@pytest.mark.parametrize("other", ["EMAIL", "Email", "email ", "\ufeffemail"])
def test_two_keys_that_mean_one_field_are_refused(put, other):
    found = read(put("a.jsonl", orjson.dumps({"email": "a@example.com", other: "b@example.com"}) + b'\n{"email":"c"}'))

    assert [(item.line, item.field, item.code) for item in found if isinstance(item, RejectedRow)] == [
        (1, "email", "given_twice")
    ]
    assert rows(found) == [(2, {"email": "c"})]


def test_consent_is_taken_from_a_key_of_any_case_and_from_no_column(put):
    found = read(put("a.jsonl", '{"email": "a@example.com", "Subscribed": false}'))
    assert rows(found) == [(1, {"email": "a@example.com", "subscribed": False})]

    assert rows(read(put("a.csv", "email,Subscribed\na@example.com,no\n"))) == [mail(2, "a")]


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("E-mail", "email"),
        ("Mail", "email"),
        ("e-Mail Address", "email"),
        ("firstName", "first_name"),
        ("Zip", "postal_code"),
    ],
)
def test_a_column_that_may_be_a_field_is_suggested_and_not_guessed(put, column, field):
    assert likely_field(column) == field
    path = put("people.csv", f"{column},nick\nx@example.com,y\n")
    with pytest.raises(SourceError, match=f"such as --map '{column}={field}'; it has: {column}, nick"):
        open_source(path)

    path = put("people.csv", f"external_id,{column},nick\nr1,x,y\n")
    with open_source(path) as source:
        assert rows(source) == [(2, {"external_id": "r1"})]
        assert source.notices == (
            f"to take an ignored column, give for example --map '{column}={field}' --map 'nick=custom_fields.nick'",
        )


DOUBLE = "email,tags,name,email,tags\na@example.com,x,A,b@example.com,y\n"


@pytest.mark.parametrize(
    ("options", "record"),
    [
        (["email#2="], {"email": "a@example.com"}),
        (["email#1="], {"email": "b@example.com"}),
        (["#4="], {"email": "a@example.com"}),
        (["#1=custom_fields.first"], {"email": "b@example.com", "custom_fields": {"first": "a@example.com"}}),
        (["#4=alternate_emails"], {"email": "a@example.com", "alternate_emails": ["b@example.com"]}),
        (["email#2=", "tags#2=custom_fields.tags"], {"email": "a@example.com", "custom_fields": {"tags": "y"}}),
    ],
)
def test_a_column_whose_name_occurs_twice_is_mapped_by_its_number_or_its_place(put, options, record):
    assert rows(read(put("people.csv", DOUBLE), mapping=parse_mapping(options))) == [(2, record)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "columns 1 and 4: leave one out with --map '#4='"),
        (["email#2=", "tags=custom_fields.tags"], "columns 2 and 5: leave one out with --map '#5='"),
        (["email#3="], "the file has no column 'email#3'"),
        (["#6="], "the file has no column '#6'"),
        (["#0="], "the file has no column '#0'"),
        (["#4=", "email#2=city"], "column 4 is mapped already, as '#4'"),
    ],
)
def test_a_name_that_occurs_twice_is_refused_with_the_option_that_decides(put, options, message):
    with pytest.raises(SourceError) as caught:
        open_source(put("people.csv", DOUBLE), mapping=parse_mapping(options))
    assert message in str(caught.value)


def test_a_column_that_is_really_called_so_wins_over_a_place(put):
    path = put("people.csv", "email,#1,x#1,x\na@example.com,b,c,d\n")

    found = read(path, mapping=parse_mapping(["#1=city", "x#1=country"]))

    assert rows(found) == [(2, {"email": "a@example.com", "city": "b", "country": "c"})]
    assert rejects(found) == []
