"""What a wrong setting is told: its name, the rule in our own words, and what there is instead. Never its value."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contact_ingest.config.destinations import Destination
from contact_ingest.config.settings import Settings
from contact_ingest.engine import current_engine
from contact_ingest.errors import SettingError

VARIABLES = [
    str(field.validation_alias or f"CONTACT_INGEST_{name.upper()}")
    for name, field in Settings.model_fields.items()
    if name != "destinations"
]
#: Words of pydantic's own sentences.
FOREIGN = re.compile(
    r"Input|valid |unable|instance|pydantic|Field required|string|dictionary|integer|tuple|parse|Extra"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a process without an engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("contact_ingest.engine._made", {})
    monkeypatch.setattr("contact_ingest.pipeline.producer._made", {})
    return tmp_path


def refusal(folder, **table):
    lines = [f"{name} = {value if isinstance(value, Raw) else json.dumps(value)}" for name, value in table.items()]
    (folder / "contact-ingest.toml").write_text("\n".join(["[destinations.news]", *lines]))
    with pytest.raises(SettingError) as caught:
        current_engine()
    return str(caught.value)


class Raw(str):
    """TOML as it is written in the file."""

    __slots__ = ()


SENDGRID = {"platform": "sendgrid", "api_key": "SG.key"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CONTACT_INGEST_MAX_WAIT_S", "soon", "must be a number"),
        ("CONTACT_INGEST_MAX_WAIT_S", "-1", "must be at least 0"),
        ("CONTACT_INGEST_MAX_WAIT_S", "3601", "must be at most 3,600"),
        ("CONTACT_INGEST_POLL_DEADLINE_S", "inf", "must be a number, not NaN or an infinity"),
        ("CONTACT_INGEST_ORPHAN_WAIT_S", "nan", "must be a number, not NaN or an infinity"),
        ("CONTACT_INGEST_RETRY_WINDOW_S", "1e300", "must be at most 315,360,000"),
        ("CONTACT_INGEST_MAX_LANE_BYTES", "1.5", "must be a whole number"),
        ("CONTACT_INGEST_MAX_OPEN_BATCHES", "many", "must be a whole number"),
        ("CONTACT_INGEST_LOG_JSON", "perhaps", "must be true or false"),
        ("CONTACT_INGEST_LOG_LEVEL", "LOUD", "must be DEBUG, INFO, WARNING or ERROR"),
        (
            "CONTACT_INGEST_KEY_PREFIX",
            "a b",
            "must be 1 to 63 letters, digits and : . _ - and begin with a letter or digit",
        ),
        ("CONTACT_INGEST_LEASE_S", "2", "is too short for one HTTP exchange; give 3 seconds or more"),
        ("CONTACT_INGEST_CONFIG", "/nope/contacts.toml", "there is no file /nope/contacts.toml"),
    ],
)
def test_a_wrong_variable_is_told_with_the_rule_in_plain_words(monkeypatch, folder, name, value, says):
    monkeypatch.setenv(name, value)

    assert refusal(folder, **SENDGRID) == f"{name}: {says}"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"rate_limit": 0, "rate_window_s": 1}, "rate_limit: must be at least 1"),
        ({"rate_limit": "many"}, "rate_limit: must be a whole number"),
        ({"rate_limit": 5, "rate_window_s": 0}, "rate_window_s: must be at least 0.001"),
        ({"rate_limit": 5, "rate_window_s": Raw("inf")}, "rate_window_s: must be a number, not NaN or an infinity"),
        ({"unknown_fields": "ignore"}, "unknown_fields: must be refuse, drop or create"),
        ({"list_ids": "one"}, "list_ids: must be a list, as in [...]"),
        ({"list_ids": ["x", 5]}, "list_ids: item 2 must be text"),
        ({"lane": 5}, "lane: must be a table, as in { name = value }"),
        ({"lane": Raw("{ contact_list_id = 5 }")}, "lane.contact_list_id: is not an option of a SendGrid lane"),
        ({"lane": Raw("{ list_ids = 'x' }")}, "lane.list_ids: must be a list of list ids"),
        ({"fields": 5}, "fields: must be a table, as in { name = value }"),
        ({"fields": Raw("{ drop = 'city' }")}, "fields.drop: must be a list, as in [...]"),
        ({"fields": Raw("{ drop = ['city', 5] }")}, "fields.drop: item 2 must be text"),
        ({"fields": Raw("{ rename = { plan = 5 } }")}, "fields.rename: each value must be text"),
        ({"fields": Raw("{ renam = {} }")}, "fields.renam: no such setting; there is rename, drop, constants"),
        ({"platform": 5}, "platform: must be text; write one of emarsys, loops, sendgrid"),
        ({"api_key": 5}, "api_key: must be text"),
        ({"on_behalf_of": ["sub"]}, "on_behalf_of: must be text"),
    ],
)
def test_a_wrong_line_of_the_file_is_told_with_the_rule_in_plain_words(folder, table, says):
    said = refusal(folder, **{**SENDGRID, **table})

    assert said.startswith(f"destinations.news.{says}")
    assert not FOREIGN.search(said), said


@pytest.mark.parametrize(
    ("table", "own"),
    [
        (SENDGRID, ["api_key", "api_key_env", "base_url", "on_behalf_of"]),
        ({"platform": "loops", "api_key": "k"}, ["api_key", "api_key_env", "base_url", "source"]),
        (
            {"platform": "emarsys", "client_id": "i", "client_secret": "s"},
            ["client_id", "client_id_env", "username_env", "key_field", "external_id_field", "token_url", "source_id"],
        ),
    ],
)
@pytest.mark.parametrize("wrong", ["list_id", "rates", "max_body_bytes", "base_url_env"])
def test_an_unknown_setting_of_a_destination_is_answered_with_all_there_are(folder, table, own, wrong):
    said = refusal(folder, **table, **{wrong: "x"})

    assert said.startswith(f"destinations.news.{wrong}: is not a setting of {table['platform']}; there are ")
    assert set(said.partition("there are ")[2].split(", ")) >= {*own, *Destination.model_fields}
    assert "rates," not in said.partition("there are ")[2]


def test_an_unknown_variable_is_answered_with_all_there_are(monkeypatch, folder):
    monkeypatch.setenv("CONTACT_INGEST_REDIS", "x")

    assert set(refusal(folder, **SENDGRID).partition("there are ")[2].split(", ")) == set(VARIABLES)


def test_a_file_that_cannot_be_read_is_told_by_its_whole_path(monkeypatch, folder):
    (folder / "deep").mkdir()
    path = folder / "deep" / "contacts.toml"
    monkeypatch.setenv("CONTACT_INGEST_CONFIG", str(path))
    for content, says in (("x", f"{path}: is not TOML"), ("other = 5", f"{path}: other: no such table")):
        path.write_text(content)
        assert refusal(folder).startswith(says)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name in VARIABLES if name.startswith("CONTACT_INGEST_")]),
    value=st.one_of(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.integers().map(str),
        st.floats().map(str),
        st.sampled_from(["true", "null", "[]", "{}", "1e400", "0x10", "١٢"]),
    ),
)
def test_whatever_a_variable_holds_the_start_goes_on_or_its_name_is_told(name, value):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(name, value)
        try:
            current_engine()
        except SettingError as wrong:
            assert wrong.name.startswith("CONTACT_INGEST_") or wrong.name == value, wrong  # noqa: PT017
            assert not FOREIGN.search(wrong.problem.replace(value or "\0", "")), wrong  # noqa: PT017
