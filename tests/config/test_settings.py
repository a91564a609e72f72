"""Settings: a wrong one stops the start, the message begins with its name, and no message holds a secret."""

import json
import subprocess
import sys
import traceback

import pytest

from contact_ingest import enqueue
from contact_ingest.config.destinations import Destination, FieldSettings
from contact_ingest.config.redis_url import check_redis_url, for_kombu, masked
from contact_ingest.config.settings import Settings
from contact_ingest.engine import Engine, current_engine
from contact_ingest.errors import SettingError

SECRET = "SG.s3cret-of-ours"
UUID = "0f9e8d7c-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a process without an engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("contact_ingest.engine._made", {})
    monkeypatch.setattr("contact_ingest.pipeline.producer._made", {})
    return tmp_path


@pytest.fixture
def configure(folder):
    def write(text: str) -> None:
        (folder / "contact-ingest.toml").write_text(text)

    return write


def refusal() -> SettingError:
    """The error of a start that must fail."""
    with pytest.raises(SettingError) as caught:
        current_engine()
    return caught.value


def destination(**fields: object) -> str:
    given = {"platform": "sendgrid", "api_key": SECRET, **fields}
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items() if value is not None]
    return "\n".join(["[destinations.news]", *lines])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONTACT_INGEST_MAX_WIAT_S", "1"),
        ("CONTACT_INGEST_REDIS_URL", "redis://127.0.0.1:1/0"),
        ("CONTACT_INGEST_DESTINATIONS", "{}"),
        ("CONTACT_INGEST_MAX_WAIT_S", "soon"),
        ("CONTACT_INGEST_MAX_WAIT_S", "-1"),
        ("CONTACT_INGEST_MAX_WAIT_S", ""),
        ("CONTACT_INGEST_MAX_LANE_BYTES", "1"),
        ("CONTACT_INGEST_MAX_BODY_BYTES", "6000001"),
        ("CONTACT_INGEST_LEASE_S", "2"),
        ("CONTACT_INGEST_KEY_PREFIX", "a b"),
        ("CONTACT_INGEST_KEY_PREFIX", "{a}"),
        ("CONTACT_INGEST_LOG_LEVEL", "LOUD"),
        ("CONTACT_INGEST_CONFIG", "nowhere.toml"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", ""),
        ("CELERY_BROKER_URL", "sentinel://127.0.0.1:26379"),
        ("SENDGRID_BASE_URL", "api.sendgrid.com"),
        ("SENDGRID_BASE_URL", "http://[::1"),
    ],
)
def test_a_wrong_variable_stops_the_start_with_its_name(monkeypatch, name, value):
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    monkeypatch.setenv(name, value)

    assert refusal().name == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (destination(platform="mailcow"), "destinations.news.platform"),
        (destination(platform=None), "destinations.news.platform"),
        (destination(api_key=None), "destinations.news.api_key"),
        (destination(api_key="two\nlines"), "destinations.news.api_key"),
        (destination(api_key=None, api_key_env="NEWS_KEY"), "destinations.news.api_key"),
        (destination(api_key=None, api_key_env=5), "destinations.news.api_key_env"),
        (destination(list_id=[UUID]), "destinations.news.list_id"),
        (destination(list_ids=["not-a-uuid"]), "destinations.news.list_ids"),
        (destination(list_ids=[UUID, UUID[:-1]]), "destinations.news.list_ids"),
        (destination(list_ids=UUID), "destinations.news.list_ids"),
        (destination(list_ids=[5]), "destinations.news.list_ids"),
        (destination(unknown_fields="ignore"), "destinations.news.unknown_fields"),
        (destination(rate_limit=5), "destinations.news.rate_limit"),
        (destination(rate_limit=0, rate_window_s=1), "destinations.news.rate_limit"),
        (destination(base_url="ftp://example.com"), "destinations.news.base_url"),
        (destination(base_url="https://user:word@example.com"), "destinations.news.base_url"),
        (destination(base_url="https://example.com:port"), "destinations.news.base_url"),
        (destination(on_behalf_of="ümläut"), "destinations.news.on_behalf_of"),
        ('[destinations.News]\nplatform = "sendgrid"', "destinations.News"),
        ("[destinations]\nnews = 5", "destinations.news"),
        ("destinations = 5", "contact-ingest.toml: destinations"),
        ('[destination.news]\nplatform = "sendgrid"', "contact-ingest.toml: destination"),
        (f'[destinations.news]\nplatform = "sendgrid"\napi_key = "{SECRET}', "contact-ingest.toml"),
    ],
)
def test_a_wrong_line_of_the_file_stops_the_start_with_its_name(configure, text, name):
    configure(text)

    problem = refusal()

    assert problem.name == name
    assert str(problem).startswith(f"{name}: ")


def test_a_file_that_is_no_text_stops_the_start(folder):
    (folder / "contact-ingest.toml").write_bytes(b"\xff\xfe\x00")

    assert refusal().name == "contact-ingest.toml"


def test_an_unknown_setting_is_answered_with_those_there_are(monkeypatch):
    monkeypatch.setenv("CONTACT_INGEST_MAX_WIAT_S", "1")

    said = refusal().problem

    assert "CONTACT_INGEST_MAX_WAIT_S" in said
    assert "CONTACT_INGEST_REDIS_URL" not in said


def test_a_sound_file_starts_and_its_lists_make_the_lane(configure):
    configure(destination(list_ids=[UUID.upper()]))

    parts = current_engine()

    assert parts.producer.lane("news").options == {"list_ids": (UUID,)}


def test_validation_connects_to_nothing(configure, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    configure(destination(base_url="https://127.0.0.1:1"))

    assert current_engine().destinations == ("news",)


def test_a_wrong_list_of_one_call_is_named_without_blaming_the_file(configure):
    configure(destination())

    with pytest.raises(SettingError) as caught:
        enqueue({"email": "a@example.com"}, list_ids=["nope"])

    assert caught.value.name == "list_ids"


def test_the_first_use_of_the_library_finds_a_wrong_list(configure):
    configure(destination(list_ids=["nope"]))

    with pytest.raises(SettingError, match=r"^destinations\.news\.list_ids: "):
        enqueue({"email": "a@example.com"})


def test_one_variable_makes_a_destination(monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)

    made = Settings.load().destination("sendgrid")

    assert made.api_key.get_secret_value() == SECRET
    assert "base_url" not in made.account, "the provider knows its own"


def test_the_environment_beats_the_file_for_the_destination_of_its_name(monkeypatch, configure):
    configure('[destinations.sendgrid]\nplatform = "sendgrid"\napi_key = "SG.old"\nbase_url = "https://old.example"')
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    monkeypatch.setenv("SENDGRID_BASE_URL", "https://new.example")

    made = Settings.load().destination("sendgrid")

    assert made.api_key.get_secret_value() == SECRET
    assert made.base_url == "https://new.example"


def test_a_named_variable_beats_the_key_in_the_file(monkeypatch, configure):
    monkeypatch.setenv("NEWS_KEY", SECRET)
    configure(destination(api_key="SG.old", api_key_env="NEWS_KEY"))

    assert Settings.load().destination("news").api_key.get_secret_value() == SECRET


def test_a_second_account_keeps_the_key_and_address_it_was_given(monkeypatch, configure):
    configure(destination(api_key="SG.second", base_url="https://second.example"))
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    monkeypatch.setenv("SENDGRID_BASE_URL", "https://first.example")

    made = Settings.load().destination("news")

    assert made.api_key.get_secret_value() == "SG.second"
    assert made.base_url == "https://second.example"


def test_the_key_in_the_environment_makes_no_second_destination_beside_the_files_own(monkeypatch, configure):
    configure(destination(api_key=None))
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)

    assert set(Settings.load().destinations) == {"news"}


def test_settings_cannot_be_changed_after_the_start(monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    settings = Settings.load()

    with pytest.raises(ValueError, match="frozen"):
        settings.max_wait_s = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.destination("sendgrid").unknown_fields = "drop"


@pytest.mark.parametrize("model", [Settings, Destination, FieldSettings])
def test_every_setting_has_a_description_that_the_manual_can_print(model):
    for name, field in model.model_fields.items():
        said = field.description or ""
        assert said[:1].isupper() or said.startswith("`"), name
        assert not said.endswith("."), name


def test_no_secret_shows_in_a_repr(monkeypatch):
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    monkeypatch.setenv("REDIS_URL", "redis://me:pa55word@127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://me:pa55word@127.0.0.1:1//")

    parts = current_engine()
    settings = parts.settings
    shown = " ".join(map(repr, (settings, settings.destinations, parts, parts.runtime("sendgrid"))))
    shown += f"{settings} {settings.model_dump()} {settings.model_dump_json()}"

    assert SECRET not in shown
    assert "pa55word" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pa55word/x@127.0.0.1:6379/0",
        "redis://:pa55word#x@127.0.0.1:6379/0",
        "redis://:x?pa55word@127.0.0.1:6379/0",
        "redis://:x[pa55word@127.0.0.1:6379/0",
        "redis://:pa55word@127.0.0.1:six/0",
        "redis://:pa55word@127.0.0.1:6379/zero",
        "redis://:pa55word@127.0.0.1:6379/0?decode_responses=yes",
        "rediss://:pa55word@127.0.0.1:6379/0?ssl_check_hostname=false",
        "rediss://:pa55word@127.0.0.1:6379/0?ssl_cert_reqs=none",
        "rediss://:pa55word@127.0.0.1:6379/0?ssl_ca_certs=/nowhere.pem",
        "redis://:pa55word@127.0.0.1:6379/0?ssl_ca_certs=/nowhere.pem",
        "sentinel://:pa55word@127.0.0.1:26379/0",
        "rediss+sentinel://:pa55word@127.0.0.1:26379/0",
        "redis+cluster://:pa55word@127.0.0.1:6379/0",
        "http://:pa55word@127.0.0.1:6379/0",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_quoting_its_password(monkeypatch, url):
    monkeypatch.setenv("SENDGRID_API_KEY", SECRET)
    monkeypatch.setenv("REDIS_URL", url)

    with pytest.raises(SettingError, match=r"^REDIS_URL: ") as caught:
        current_engine()

    assert "pa55word" not in "".join(traceback.format_exception(caught.value))


def test_a_password_in_percent_code_is_taken(monkeypatch):
    check_redis_url("REDIS_URL", "redis://me:pa%2Fss%23%3F%5B@127.0.0.1:6379/0")

    assert masked("redis://me:pa%2Fss@127.0.0.1:6379/3?password=pa55word") == "redis://***@127.0.0.1:6379/3"


def test_a_unix_socket_is_written_as_kombu_reads_it():
    assert for_kombu("unix:///run/redis.sock?db=2") == "redis+socket:///run/redis.sock?virtual_host=2"
    assert for_kombu("redis://127.0.0.1:6379/2") == "redis://127.0.0.1:6379/2"


@pytest.mark.parametrize(
    "text",
    [
        destination(list_ids=["not-a-uuid"]),
        destination(unheard_of=SECRET),
        destination(api_key=f"{SECRET}\a"),
        destination(unknown_fields=SECRET),
        f'[destinations.news]\nplatform = "sendgrid"\napi_key = "{SECRET}"\napi_key = "{SECRET}"',
        f"[destinations.news]\napi_key = {SECRET}",
        f"{SECRET}",
    ],
)
def test_no_refusal_quotes_a_key(configure, text):
    configure(text)

    assert SECRET not in "".join(traceback.format_exception(refusal()))


def test_without_a_destination_an_enqueue_says_what_to_set():
    with pytest.raises(SettingError, match="SENDGRID_API_KEY"):
        Engine(Settings.load()).settings.destination("sendgrid")


def test_a_process_with_a_wrong_setting_ends_at_once_with_its_name(folder):
    """The library in a process of its own, as an application imports it."""
    ended = subprocess.run(
        [sys.executable, "-c", "from contact_ingest import enqueue; enqueue({'email': 'a@example.com'})"],
        env={"PYTHONPATH": ":".join(sys.path), "SENDGRID_API_KEY": SECRET, "CONTACT_INGEST_LEASE_S": "long"},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )

    assert ended.returncode == 1
    assert "SettingError: CONTACT_INGEST_LEASE_S: " in ended.stderr
    assert SECRET not in ended.stderr
