"""Every documented setting of a destination, and of each platform, changes what is sent to the platform, or when.

A setting without a case here fails the last test: one that is checked and then ignored must not come back."""

import inspect

import pytest
from support.configured import KEYS, RECORD, Cases, body_of
from support.peer import advance

from contact_ingest.config.destinations import PLATFORM_VARIABLES, Destination, FieldSettings
from contact_ingest.model.http_message import RateHeaders
from contact_ingest.providers.registry import COMMON, REGISTRY, maker

LISTS = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
CASES = Cases()


# A destination


@CASES.of("platform")
def the_platform(configured):
    urls = {platform: configured.sent(platform).url for platform in KEYS}
    assert len(set(urls.values())) == 3


@CASES.of("unknown_fields")
def the_fate_of_an_unknown_field(configured):
    record = {**RECORD, "custom_fields": {"plan": "pro"}}
    configured.start(**KEYS["sendgrid"])
    configured.send([record])
    assert not any(request.endpoint == "upsert" for request in configured.peer.heard)
    contact = body_of(configured.sent("sendgrid", record=record, unknown_fields="drop"))["contacts"][0]
    assert contact == RECORD
    configured.start(**KEYS["sendgrid"], unknown_fields="create")
    for _ in range(3):
        configured.send([record])
    assert any(request.method == "POST" for request in configured.peer.heard)


@CASES.of("list_ids")
def the_lists_of_every_contact(configured):
    assert "list_ids" not in body_of(configured.sent("sendgrid"))
    assert body_of(configured.sent("sendgrid", list_ids=LISTS))["list_ids"] == LISTS


@CASES.of("lane")
def the_options_of_the_lane(configured):
    assert "contact_list_id" not in body_of(configured.sent("emarsys"))
    assert body_of(configured.sent("emarsys", lane={"contact_list_id": 4711}))["contact_list_id"] == 4711
    assert body_of(configured.sent("sendgrid", lane={"list_ids": LISTS}))["list_ids"] == LISTS


@CASES.of("rate_limit", "rate_window_s")
def the_configured_rate(configured):
    def requests(**rate):
        """How many of ten requests go out at once, and of ten more 100 seconds later."""
        runtime, counts = configured.start(**KEYS["sendgrid"], **rate).runtime, []
        for _ in range(2):
            granted = [
                permit for permit in (runtime.rate_limiter.acquire("upsert") for _ in range(10)) if permit.granted
            ]
            counts.append(len(granted))
            for permit in granted:
                runtime.rate_limiter.report(permit, RateHeaders())
            advance(runtime, 100)
        return counts

    assert requests()[1] == 10
    assert requests(rate_limit=2, rate_window_s=60) == [2, 2]
    assert requests(rate_limit=3, rate_window_s=60) == [3, 3]
    assert requests(rate_limit=2, rate_window_s=600) == [2, 0]


@CASES.of("fields", "fields.rename")
def the_names_of_fields(configured):
    record = {**RECORD, "town": "Oslo"}
    sent = configured.sent("sendgrid", record=record, fields={"rename": {"town": "city"}})
    assert body_of(sent)["contacts"][0] == {**RECORD, "city": "Oslo"}


@CASES.of("fields.drop")
def the_fields_left_out(configured):
    sent = configured.sent("sendgrid", fields={"drop": ["first_name"]})
    assert body_of(sent)["contacts"][0] == {"email": RECORD["email"]}


@CASES.of("fields.constants")
def the_fields_added(configured):
    sent = configured.sent("sendgrid", fields={"constants": {"city": "Oslo"}})
    assert body_of(sent)["contacts"][0] == {**RECORD, "city": "Oslo"}


# The platforms' own


@CASES.of("sendgrid.api_key", "loops.api_key")
def the_key(configured):
    for platform in ("sendgrid", "loops"):
        variable = PLATFORM_VARIABLES[platform]["api_key"]
        for given in ({"api_key": "SG.other"}, {"api_key_env": "OTHER_KEY"}, {}):
            env = {"OTHER_KEY": "SG.other"} if "api_key_env" in given else {} if given else {variable: "SG.other"}
            configured.start(platform, env, **(given or {"unknown_fields": "refuse"}))
            configured.send([RECORD])
            sent = next(request for request in configured.peer.heard if request.endpoint == "upsert")
            assert sent.headers["authorization"] == "Bearer SG.other"


@CASES.of("sendgrid.base_url", "loops.base_url", "emarsys.base_url")
def the_address(configured):
    for platform in KEYS:
        variable = PLATFORM_VARIABLES[platform]["base_url"]
        assert configured.sent(platform, base_url="https://one.example").url.startswith("https://one.example/")
        assert configured.sent(platform, {variable: "https://two.example"}).url.startswith("https://two.example/")


@CASES.of("sendgrid.on_behalf_of")
def the_subuser(configured):
    assert "on-behalf-of" not in configured.sent("sendgrid").headers
    assert configured.sent("sendgrid", on_behalf_of="sub").headers["on-behalf-of"] == "sub"


@CASES.of("loops.source")
def the_source_of_a_contact(configured):
    assert "source" not in body_of(configured.sent("loops"))
    assert body_of(configured.sent("loops", source="crm"))["source"] == "crm"


def token_request(configured, env=None, **more):
    configured.sent("emarsys", env, **more)
    return configured.peer.heard[0]


@CASES.of("emarsys.client_id", "emarsys.client_secret")
def the_credentials_for_a_token(configured):
    ours = token_request(configured)
    for given in ({"client_id": "other"}, {"client_secret": "other"}):
        assert token_request(configured, **given).headers != ours.headers


@CASES.of("emarsys.token_url")
def the_address_of_tokens(configured):
    assert token_request(configured, token_url="https://one.example/t").url == "https://one.example/t"
    variable = {"EMARSYS_TOKEN_URL": "https://two.example/t"}
    assert token_request(configured, variable).url == "https://two.example/t"


@CASES.of("emarsys.username", "emarsys.secret")
def the_credentials_of_a_signature(configured):
    configured.start("emarsys", username="someone", secret="word")
    configured.send([RECORD])
    [sent] = configured.peer.heard
    assert 'Username="someone"' in sent.headers["x-wsse"]
    for variables in ({"EMARSYS_USERNAME": "other", "EMARSYS_SECRET": "word"},):
        configured.start("emarsys", variables, unknown_fields="refuse")
        configured.send([RECORD])
        assert 'Username="other"' in configured.peer.heard[-1].headers["x-wsse"]


@CASES.of("emarsys.key_field", "emarsys.external_id_field")
def the_key_of_contacts(configured):
    record = {"external_id": "r-1", "first_name": "Ann"}
    for field in ("3499", "uid", "eid", "id"):
        sent = configured.sent("emarsys", record=record, key_field="external_id", external_id_field=field)
        assert body_of(sent) == {"key_id": field, "contacts": [{field: "r-1", "1": "Ann"}]}
    assert body_of(configured.sent("emarsys"))["key_id"] == "3"
    beside = configured.sent("emarsys", record={**RECORD, "external_id": "r-1"}, external_id_field="3499")
    assert body_of(beside)["contacts"][0]["3499"] == "r-1"


@CASES.of("emarsys.source_id")
def the_source_of_every_contact(configured):
    assert "source_id" not in body_of(configured.sent("emarsys"))["contacts"][0]
    assert body_of(configured.sent("emarsys", source_id=17))["contacts"][0]["source_id"] == 17


# The walk


def documented() -> set[str]:
    """Every setting of a destination on the page docs/configuration.md, from where that page takes them."""
    own = {
        f"{platform}.{name}"
        for platform in REGISTRY
        for name in inspect.signature(maker(platform)).parameters
        if name not in COMMON
    }
    return set(Destination.model_fields) | {f"fields.{name}" for name in FieldSettings.model_fields} | own


def test_every_documented_setting_has_a_case_and_no_other_has():
    assert set(CASES) == documented()


@pytest.mark.parametrize("show", CASES.distinct(), ids=lambda function: function.__name__)
def test_a_setting_changes_what_is_sent_or_when(configured, show):
    show(configured)
