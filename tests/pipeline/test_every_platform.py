"""What every platform promises, whatever it is called: one suite for all that are registered, each against its sandbox.

A platform that is registered and has no case here fails all of it.
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from support.stage import KEY

from contact_ingest import enqueue
from contact_ingest.model.lane import Lane
from contact_ingest.model.verdicts import FieldTable
from contact_ingest.packing.payload import Payload
from contact_ingest.pipeline.retry import FailureFilter
from contact_ingest.providers import registry
from contact_ingest.providers.base import CustomFields, ImportJobs, Provider, SigningContext, TokenAuth
from contact_ingest.providers.registry import REGISTRY

TOO_LONG = "x" * 600
#: Keys of a body that speak of consent, whichever platform's they are.
CONSENT = re.compile(rb'"(subscribed|31|mailingLists)"')


@dataclass(frozen=True)
class Case:
    """One platform in its sandbox. `settings` may hold `{url}`; `limit` is the sandbox's name for what upserts count
    against; `marker` is a last name that the sandbox refuses; `consent` is a record's word on it, where the platform
    takes one."""

    settings: Mapping[str, str]
    endpoint: str
    limit: str
    marker: str
    email: Callable[[Mapping[str, Any]], str]
    first_name: Callable[[Mapping[str, Any]], str]
    fields: tuple[str, ...]
    consent: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = (KEY,)


CASES = {
    "sendgrid": Case(
        settings={"api_key": KEY, "base_url": "{url}"},
        endpoint="sendgrid.upsert",
        limit="sendgrid.upsert",
        marker="[[reject-silent]]",
        email=lambda contact: contact["email"],
        first_name=lambda contact: contact["first_name"],
        fields=("first_name", "last_name", "city", "address_line_1", "postal_code", "country", "unique_name"),
    ),
    "loops": Case(
        settings={"api_key": KEY, "base_url": "{url}/api"},
        endpoint="loops.update",
        limit="loops",
        marker="[[loops-400]]",
        email=lambda contact: contact["email"],
        first_name=lambda contact: contact["firstName"],
        fields=("first_name", "last_name", "user_group", "source", "external_id"),
        consent={"subscribed": False, "mailing_lists": {"list-1": True}},
    ),
    "emarsys": Case(
        settings={
            "client_id": "sandbox-client",
            "client_secret": "sandbox-secret",
            "base_url": "{url}/api",
            "token_url": "{url}/oauth2/token",
        },
        endpoint="emarsys.contacts",
        limit="emarsys",
        marker="[[emarsys-2007]]",
        email=lambda contact: contact["fields"]["3"],
        first_name=lambda contact: contact["fields"]["1"],
        fields=("first_name", "last_name", "city", "address_line_1", "postal_code", "phone"),
        consent={"opt_in": 1},
        secrets=("sandbox-secret", "sandbox-client"),
    ),
}


def case_of(platform: str) -> Case:
    if platform not in CASES:
        pytest.fail(f"{platform} is registered, but CASES in {Path(__file__).name} says nothing of it: add a case")
    return CASES[platform]


@pytest.fixture(params=sorted(REGISTRY))
def platform(request):
    return request.param


@pytest.fixture
def case(platform):
    return case_of(platform)


@pytest.fixture
def account(case, sandbox):
    """The settings of the platform's account in the sandbox."""
    return {name: text.format(url=sandbox.url) for name, text in case.settings.items()}


@pytest.fixture
def provider(platform, account):
    secret = {"api_key", "client_id", "client_secret"}
    return registry.build(platform, **{k: SecretStr(v) if k in secret else v for k, v in account.items()})


@pytest.fixture
def make(make_harness, platform, case, account, sandbox):
    """An engine with one destination, in no hurry imposed by the platform's documented rate."""
    sandbox.dials(limits={case.limit: {"limit": 10_000, "window_s": 1}})
    config = {"platform": platform, "rate_limit": 10_000, "rate_window_s": 1, **account}
    return partial(make_harness, destinations={platform: config})


@pytest.fixture
def harness(make):
    return make()


def person(number, **more):
    return {"email": f"p{number}@private.example", "first_name": f"Given {number}", **more}


def upserts(case, sandbox):
    return [entry for entry in sandbox.journal() if entry["endpoint"] == case.endpoint]


def stored(case, platform, sandbox):
    return {case.email(contact): case.first_name(contact) for contact in sandbox.contacts(platform)}


def batches(harness):
    """The hashes of all batches there have been."""
    store = harness.runtime.store
    keys = store.client.scan_iter(match=re.sub(r"([{}\[\]])", r"\\\1", store.keys("batch:")) + "*", count=1000)
    hashes = [key for key in keys if re.fullmatch(rb"\d+", key.rpartition(b":")[2])]
    return [{k.decode(): v.decode() for k, v in store.client.hgetall(key).items()} for key in hashes]


def failures(harness):
    return {orjson.loads(failed.raw)["email"]: failed.public(contents=False) for failed in harness.runtime.failures}


def upsert_of(provider, *records):
    rows = [provider.prepare(orjson.dumps(record), FieldTable()).encoded for record in records]
    return provider.upsert(Lane("a", "a"), [b",".join(rows)])


def bytes_of(request):
    return b"".join(request.body)


CAPABILITIES = {"sendgrid": {ImportJobs, CustomFields}, "loops": {CustomFields}, "emarsys": {CustomFields, TokenAuth}}


def test_a_platform_offers_the_core_and_no_method_that_it_cannot_do(provider, platform):
    offered = {capability for capability in (ImportJobs, CustomFields, TokenAuth) if isinstance(provider, capability)}
    every = {name for capability in (ImportJobs, CustomFields, TokenAuth) for name in methods(capability)}

    assert isinstance(provider, Provider)
    assert offered == CAPABILITIES[platform]
    assert {name for name in every if hasattr(provider, name)} == {n for each in offered for n in methods(each)}


def test_a_destination_has_a_poller_if_its_platform_has_import_jobs(harness, platform):
    assert (harness.runtime.poller is not None) == (ImportJobs in CAPABILITIES[platform])


def methods(capability):
    return {name for name in vars(capability) if not name.startswith("_")}


def test_the_lane_rules_of_a_platform_are_those_of_its_provider(provider, platform, account):
    rules, lane = registry.lane_rules(platform, **account), Lane("a", "a")

    assert rules.limits(lane) == provider.limits(lane)
    assert rules.limits(lane, 70_000) == provider.limits(lane, 70_000)
    assert rules.lane_options() == provider.lane_options() == {}


def test_a_platform_without_a_case_fails_the_suite_by_name():
    with pytest.raises(pytest.fail.Exception, match=r"nowhere is registered, but CASES in test_every_platform\.py"):
        case_of("nowhere")


def test_contacts_arrive_with_the_values_they_were_given(harness, platform, case, sandbox):
    enqueue(person(i) for i in range(50))

    harness.run_until_settled()

    assert stored(case, platform, sandbox) == {f"p{i}@private.example": f"Given {i}" for i in range(50)}
    assert harness.books()["delivered"] == 50
    harness.assert_books_balance()


def test_no_body_holds_more_contacts_than_the_platform_takes(harness, platform, case, sandbox):
    most = harness.runtime.provider.limits(Lane(platform, platform)).max_contacts
    enqueue({"email": f"p{i}@private.example"} for i in range(most + 3))

    harness.run_until_settled()

    counts = sorted(entry["contacts"] for entry in upserts(case, sandbox))
    assert counts[-1] == most
    assert sum(counts) == most + 3
    assert harness.books()["delivered"] == most + 3


def test_no_body_is_over_the_cap_in_bytes_nor_another_size_than_was_counted(make, platform, case, sandbox, caplog):
    caplog.set_level("INFO", logger="contact_ingest")
    harness = make(max_body_bytes=65_536)
    limits = harness.runtime.provider.limits(Lane(platform, platform))
    wide = {"first_name": "é" * 50, "last_name": "n" * 40}
    enqueue({**person(i), **wide} for i in range(1_000 if limits.max_contacts > 1 else 40))

    harness.run_until_settled()

    sent = sorted(entry["bytes"] for entry in upserts(case, sandbox))
    assert max(sent) <= limits.max_bytes
    assert len(sent) > 1
    assert sent == sorted(int(batch["bytes"]) for batch in batches(harness))
    assert sent == sorted(record.bytes for record in caplog.records if record.message == "batch ended")
    assert limits.max_contacts == 1 or max(sent) > limits.max_bytes - 300


def test_a_body_is_as_long_as_the_packer_predicts(provider):
    limits = provider.limits(Lane("a", "a"))
    body = Payload(limits)
    for number in range(min(limits.max_contacts, 5)):
        body.add(provider.prepare(orjson.dumps(person(number, last_name="Ñandú 😀")), FieldTable()).encoded)
    packed = body.close()

    request = provider.upsert(Lane("a", "a"), [packed.body])

    assert request.length == len(bytes_of(request)) == len(packed.body) + len(limits.prefix) + len(limits.suffix)


def test_bad_records_fail_alone_and_can_be_retried(harness, platform, case, sandbox):
    bad = {3: person(3, last_name=TOO_LONG), 6: person(6, last_name=case.marker)}
    enqueue(bad.get(i, person(i)) for i in range(12))

    harness.run_until_settled()

    assert {mail: about["stage"] for mail, about in failures(harness).items()} == {
        "p3@private.example": "aggregate",
        "p6@private.example": "dispatch",
    }
    assert failures(harness)["p3@private.example"]["code"] == "too_long"
    assert len(stored(case, platform, sandbox)) == harness.books()["delivered"] == 10

    assert harness.runtime.retrier.retry(FailureFilter()) == 2
    harness.run_until_settled()

    assert [about["attempts"] for about in failures(harness).values()] == [2, 2]
    assert len(stored(case, platform, sandbox)) == 10
    harness.assert_books_balance()


@pytest.mark.parametrize(("fault", "attempts"), [("429", "1"), ("503", "2"), ("unreadable", "2")])
def test_trouble_is_no_success_and_a_limit_spends_no_attempt(harness, platform, case, sandbox, fault, attempts):
    sandbox.dials(script=[fault], faults_on=[case.endpoint])
    enqueue(person(1))
    harness.runtime.aggregator.aggregate(platform)
    harness.runtime.dispatcher.dispatch(platform)

    assert len(upserts(case, sandbox)) == 1
    assert harness.books()["delivered"] == 0

    harness.run_until_settled()

    assert len(upserts(case, sandbox)) == 2
    assert [batch["attempts"] for batch in batches(harness)] == [attempts]
    assert stored(case, platform, sandbox) == {"p1@private.example": "Given 1"}
    assert (harness.books()["delivered"], harness.books()["failed"]) == (1, 0)


def test_a_refused_key_stops_the_destination_and_fails_nobody(harness, platform, case, sandbox):
    sandbox.dials(auth_down=True)
    enqueue(person(i) for i in range(3))

    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")
    spent = len(upserts(case, sandbox))
    harness.pump()

    assert len(upserts(case, sandbox)) == spent
    books = harness.books()
    assert (books["failed"], books["delivered"], books["waiting"] + books["batched"]) == (0, 0, 3)

    sandbox.dials(auth_down=False)
    harness.runtime.state.resume(None)
    harness.run_until_settled()

    assert len(stored(case, platform, sandbox)) == 3
    harness.assert_books_balance()


def test_no_log_line_names_anybody_or_holds_a_key(harness, case, sandbox, caplog):
    caplog.set_level("DEBUG")
    sandbox.dials(script=["503"], faults_on=[case.endpoint], auth_down=True)
    enqueue([person(1), person(2, last_name=TOO_LONG), person(3, last_name=case.marker)])
    harness.run_until(lambda: harness.runtime.state.read().get("state") == "stopped")
    sandbox.dials(auth_down=False)
    harness.runtime.state.resume(None)
    harness.run_until_settled()

    said = "\n".join(repr(vars(record)) + record.getMessage() for record in caplog.records)
    assert "batch ended" in said
    assert "private.example" not in said
    assert "Given" not in said
    assert not [secret for secret in case.secrets if secret in said]


def test_no_repr_shows_a_person_or_a_key(harness, case, sandbox):
    provider, http_client = harness.runtime.provider, harness.runtime.exchanger.http_client
    record = person(3, last_name=case.marker)
    request = upsert_of(provider, record)
    reply = http_client.exchange(request, deadline_s=10)
    signed = provider.sign(request, SigningContext("a-token", time.time(), "0" * 32))

    parts = (provider, provider.prepare(orjson.dumps(record), FieldTable()), request, signed, reply)
    shown = repr((*parts, provider.read_upsert(reply, time.time())))
    shown += repr(provider.token_request()) if isinstance(provider, TokenAuth) else ""

    assert signed.headers != request.headers
    assert "private.example" not in shown
    assert "Given" not in shown
    assert not [secret for secret in ("a-token", *case.secrets) if secret in shown]


def test_nothing_is_said_of_consent_that_no_record_says(provider, case):
    chance = random.Random(7)
    for number in range(300):
        names = chance.sample(case.fields, chance.randint(0, len(case.fields)))
        texts = {name: "".join(chance.choices("abc XYZ'-é", k=chance.randint(1, 20))) for name in names}
        if "phone" in texts:
            texts["phone"] = f"+43660{number:06}"
        body = bytes_of(upsert_of(provider, {"email": f"p{number}@private.example", **texts}))
        assert CONSENT.search(body) is None, names


def test_what_a_record_says_of_consent_is_said(provider, case):
    told = {match.decode() for match in CONSENT.findall(bytes_of(upsert_of(provider, person(1, **case.consent))))}

    assert len(told) == len(case.consent)


def test_with_the_policy_to_create_a_missing_field_is_created_and_filled(
    make_harness, platform, case, account, sandbox
):
    sandbox.dials(limits={case.limit: {"limit": 10_000, "window_s": 1}})
    config = {"platform": platform, "unknown_fields": "create", **account}
    harness = make_harness(destinations={platform: config})
    enqueue(person(1, custom_fields={"favouriteTea": "rooibos"}))

    harness.run_until_settled()

    assert harness.books()["delivered"] == 1
    [contact] = sandbox.contacts(platform)
    values = {**contact, **contact.get("fields", {}), **contact.get("custom_fields", {})}
    assert "rooibos" in values.values()
