"""A platform that the product has never heard of goes through the whole engine, registered or installed."""

import shutil
import sys
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr
from support import toy
from support.people import person

from contact_ingest import enqueue
from contact_ingest.errors import FieldsNeeded, SettingError
from contact_ingest.model.verdicts import Pending
from contact_ingest.providers.base import CustomFields, ImportJobs, Provider, TokenAuth
from contact_ingest.providers.registry import ENTRY_POINTS, REGISTRY, Platform, lane_rules, maker, platforms
from contact_ingest.providers.sendgrid.provider import SendGrid

TOY = Path(toy.__file__)


@pytest.fixture
def server():
    made = toy.serve()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(REGISTRY, "toy", Platform("support.toy:Toy"))


@pytest.fixture
def make_toy_engine(make_harness, server):
    def make(**config):
        return make_harness(
            destinations={"toy": {"platform": "toy", "api_key": toy.ToySandbox.key, "base_url": server.url, **config}}
        )

    return make


def install(directory, monkeypatch, name, value):
    """What an installer leaves of a package that brings a platform."""
    about = directory / "toy_platform-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-platform\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {value}\n")
    shutil.copy(TOY, directory / "toy_platform.py")
    monkeypatch.syspath_prepend(directory)
    monkeypatch.setitem(sys.modules, "toy_platform", None)  # taken away again at the end, whoever imports it
    del sys.modules["toy_platform"]


def test_a_platform_and_its_sandbox_take_fewer_than_120_lines():
    assert len(TOY.read_text().splitlines()) < 120


def test_the_toy_offers_the_core_alone(server):
    made = toy.Toy(api_key=SecretStr("k"), base_url=server.url)

    assert isinstance(made, Provider)
    assert not isinstance(made, ImportJobs | CustomFields | TokenAuth)


def test_a_platform_that_asks_for_custom_fields_and_offers_none_is_a_defect_that_shows(
    registered, make_toy_engine, monkeypatch
):
    harness = make_toy_engine()
    monkeypatch.setattr(toy.Toy, "prepare", lambda *_: (_ for _ in ()).throw(FieldsNeeded({"plan": "pro"})))
    enqueue(person(1))

    with pytest.raises(TypeError, match="offers no CustomFields"):
        harness.runtime.aggregator.aggregate("toy")
    assert harness.books()["waiting"] == 1


def test_a_platform_that_says_pending_and_offers_no_jobs_keeps_its_records_and_shows_why(
    registered, make_toy_engine, monkeypatch, caplog
):
    harness = make_toy_engine()
    monkeypatch.setattr(toy.Toy, "read_upsert", lambda *_: Pending("job-1"))
    enqueue(person(1))
    harness.runtime.aggregator.aggregate("toy")
    harness.runtime.dispatcher.dispatch("toy")

    assert "TypeError at dispatch.py" in next(r.problem for r in caplog.records if r.message == "internal")
    assert harness.books()["batched"] == 1


def test_a_platform_that_needs_an_extra_names_the_command_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / "needy_platform.py").write_text("import httptools\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.setitem(REGISTRY, "needy", Platform("needy_platform:Needy"))

    with pytest.raises(SettingError, match=r"^platform: the package httptools is missing: pip install 'contact-inge"):
        lane_rules("needy")


def test_a_registered_platform_delivers_in_bodies_of_its_own_size(registered, make_toy_engine, server):
    harness = make_toy_engine()
    enqueue(person(i) for i in range(250))

    harness.run_until_settled()

    assert server.stored == {f"p{i}@example.com": f"Name {i}" for i in range(250)}
    assert len(server.sizes) == 3
    assert harness.books()["delivered"] == 250
    harness.assert_books_balance()


def test_bad_records_of_a_registered_platform_fail_alone_with_its_reason(registered, make_toy_engine, server):
    harness = make_toy_engine()
    bad = {3: person(3, first_name="bad"), 5: person(5, first_name="x" * 21), 7: person(7, last_name="x")}
    enqueue(bad.get(i, person(i)) for i in range(10))

    harness.run_until_settled()

    failed = {orjson.loads(each.raw)["email"]: each.public(contents=False) for each in harness.runtime.failures}
    assert {mail: (about["stage"], about["code"]) for mail, about in failed.items()} == {
        "p3@example.com": ("dispatch", "refused"),
        "p5@example.com": ("aggregate", "too_long"),
        "p7@example.com": ("aggregate", "unknown_field"),
    }
    assert len(server.stored) == 7
    harness.assert_books_balance()


def test_trouble_of_a_registered_platform_passes(registered, make_toy_engine, server):
    harness = make_toy_engine()
    server.script += [429, 503]
    enqueue(person(1))

    harness.run_until_settled()

    assert server.stored == {"p1@example.com": "Name 1"}
    assert len(server.sizes) == 3
    assert harness.books()["failed"] == 0


def test_a_wrong_key_stops_a_registered_platform_and_fails_nobody(registered, make_toy_engine, server):
    harness = make_toy_engine(api_key="another")
    enqueue(person(1))

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")

    assert harness.books()["failed"] == 0
    assert harness.books()["batched"] == 1
    assert server.stored == {}


def test_a_platform_of_an_installed_package_delivers(tmp_path, monkeypatch, make_toy_engine, server):
    assert "toy" not in platforms()
    install(tmp_path, monkeypatch, "toy", "toy_platform:Toy")
    harness = make_toy_engine(unknown_fields="drop")
    enqueue(person(i, city="Linz") for i in range(3))

    harness.run_until_settled()

    assert type(harness.runtime.provider).__module__ == "toy_platform"
    assert server.stored == {f"p{i}@example.com": f"Name {i}" for i in range(3)}
    harness.assert_books_balance()


def test_an_installed_package_cannot_take_the_place_of_a_platform_there_is(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "sendgrid", "toy_platform:Toy")

    assert maker("sendgrid") is SendGrid
