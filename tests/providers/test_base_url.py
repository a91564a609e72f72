"""A base address is right, or means the same as the right one, or is refused at the start with the right one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.model.lane import Lane
from contact_ingest.providers import registry

KEYS = {
    "sendgrid": {"api_key": SecretStr("SG.k")},
    "loops": {"api_key": SecretStr("k")},
    "emarsys": {"client_id": SecretStr("c"), "client_secret": SecretStr("s")},
}
RIGHT = {
    "sendgrid": "https://api.sendgrid.com",
    "loops": "https://app.loops.so/api",
    "emarsys": "https://api.emarsys.net/api",
}
VERSIONS = {"sendgrid": ("v3",), "loops": ("v1",), "emarsys": ("v2", "v3")}


def account(platform, url):
    return registry.build(platform, **KEYS[platform], base_url=url)


def refusal(platform, url):
    with pytest.raises(SettingError) as caught:
        account(platform, url)
    assert caught.value.name == "base_url"
    return caught.value.problem


def sends_to(made):
    return made.upsert(Lane("news", "crm"), [b"{}"]).url


@pytest.mark.parametrize("platform", RIGHT)
@pytest.mark.parametrize(
    "same",
    [
        lambda url: url,
        lambda url: url + "/",
        lambda url: url + "///",
        lambda url: url.replace("https", "HTTPS"),
        lambda url: url.replace("api.", "API.").replace("app.", "App."),
        lambda url: url.replace(".com", ".com:443").replace(".so", ".so:443").replace(".net", ".net:443"),
    ],
)
def test_what_means_the_same_is_one_account_and_one_address(platform, same):
    usual, made = registry.build(platform, **KEYS[platform]), account(platform, same(RIGHT[platform]))
    assert (made.account, sends_to(made)) == (usual.account, sends_to(usual))


@pytest.mark.parametrize(
    ("platform", "url"),
    [
        ("sendgrid", "https://api.sendgrid.com/v3"),
        ("sendgrid", "https://api.sendgrid.com/v3/"),
        ("sendgrid", "https://api.sendgrid.com/V3/marketing"),
        ("sendgrid", "https://api.sendgrid.com/api"),
        ("sendgrid", "http://api.sendgrid.com"),
        ("sendgrid", "https://api.sendgrid.com:8443"),
        ("sendgrid", "https://app.sendgrid.com"),
        ("loops", "https://app.loops.so"),
        ("loops", "https://app.loops.so/"),
        ("loops", "https://app.loops.so/api/v1"),
        ("loops", "https://app.loops.so/v1"),
        ("loops", "http://app.loops.so/api"),
        ("loops", "https://loops.so/api"),
        ("emarsys", "https://api.emarsys.net"),
        ("emarsys", "https://api.emarsys.net/api/v2/"),
        ("emarsys", "https://api.emarsys.net/api/v3/contact"),
        ("emarsys", "https://api.emarsys.net/v3"),
        ("emarsys", "http://api.emarsys.net/api"),
        ("emarsys", "https://api.sap.emarsys.net/api"),
    ],
)
def test_a_wrong_address_at_a_host_of_the_platform_is_refused_with_the_right_one(platform, url):
    assert RIGHT[platform] in refusal(platform, url)


def test_the_other_hosts_of_a_platform_keep_their_own_right_address():
    assert refusal("sendgrid", "https://api.eu.sendgrid.com/v3") == "must be https://api.eu.sendgrid.com"
    assert refusal("emarsys", "https://www1.emarsys.net/api/v2/") == "must be https://www1.emarsys.net/api"
    assert sends_to(account("sendgrid", "https://api.eu.sendgrid.com/")).startswith("https://api.eu.sendgrid.com/v3/")


WORDS = {"sendgrid": "marketing/contacts", "loops": "contacts/update", "emarsys": "contact/"}


@pytest.mark.parametrize("platform", VERSIONS)
@pytest.mark.parametrize("path", ["/{0}", "/{0}/", "/mail/{0}", "/a/b/{0}/", "/{0}/{1}", "/mail/{0}/{1}"])
def test_a_version_that_the_paths_begin_with_is_refused_at_a_gateway_too(platform, path):
    for version in VERSIONS[platform]:
        problem = refusal(platform, "https://gateway.example" + path.format(version, WORDS[platform]))
        assert f"before /{version}," in problem


@pytest.mark.parametrize("platform", RIGHT)
@pytest.mark.parametrize(
    "url",
    [
        *("gateway.example", "ftp://gateway.example", "https://", "https:///api", "https://gateway.example:port", ""),
        *(
            "https://u:w@gateway.example",
            "https://@gateway.example",
            "https://gateway.example:0",
            "https://g.example:99999",
        ),
        *(
            "https://gateway.example?",
            "https://gateway.example?x=1",
            "https://gateway.example/#",
            "https://g.example/a#b",
        ),
        *(" https://gateway.example", "https://gateway.example ", "https://gate way.example", "https://g.example/a\nb"),
        *("https://gateway.example//api", "https://gateway.example/../api", "https://gateway.example/./api"),
        *("https://b\u00fccher.example", "https://gateway.example\\api", "https://[::1"),
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(platform, url):
    problem = refusal(platform, url)
    assert "gateway.example" not in problem
    assert "must" in problem


@pytest.mark.parametrize("platform", RIGHT)
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8025", "http://[::1]:8025/api", "https://gateway.example/v1/v9/mail", "https://g.example/v3x"],
)
def test_a_gateway_may_have_paths_of_its_own(platform, url):
    assert sends_to(account(platform, url)).startswith(url + "/v")


@given(
    platform=st.sampled_from(sorted(RIGHT)),
    host=st.sampled_from(["gateway.example", "G.example:8443", "10.0.0.7", "[::1]:80"]),
    words=st.lists(st.sampled_from(["mail", "api", "v1", "v2", "v3", "V3", "contacts", "x", ""]), max_size=4),
    slashes=st.integers(0, 2),
)
def test_no_accepted_address_has_a_version_twice_and_checking_twice_changes_nothing(platform, host, words, slashes):
    url = "/".join([f"http://{host}", *words]) + "/" * slashes
    try:
        made = account(platform, url)
    except SettingError:
        assume(False)
    *before, version = sends_to(made).split("/", 3)[3].lower().partition(WORDS[platform])[0].rstrip("/").split("/")
    assert version in VERSIONS[platform]
    assert "" not in before
    assert not before or before[-1] not in VERSIONS[platform]
    assert account(platform, url + "/").account == made.account
