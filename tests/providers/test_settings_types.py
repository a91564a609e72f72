"""A platform's setting of a wrong type is refused by name, without its value."""

import pytest
from pydantic import SecretStr

from contact_ingest.errors import SettingError
from contact_ingest.providers import registry

KEY = {"api_key": SecretStr("SG.key")}


@pytest.mark.parametrize("make", [registry.build, registry.lane_rules], ids=["account", "lane rules"])
@pytest.mark.parametrize(
    ("platform", "setting", "value"),
    [
        ("sendgrid", "max_body_bytes", "many"),
        ("sendgrid", "max_body_bytes", 70_000.5),
        ("emarsys", "key_field", 7_012_345),
    ],
)
def test_a_setting_that_a_producer_needs_too_is_refused_by_name(make, platform, setting, value):
    with pytest.raises(SettingError) as refused:
        make(platform, **KEY, **{setting: value}) if platform == "sendgrid" else make(platform, **{setting: value})

    assert refused.value.name == setting
    assert str(value) not in str(refused.value)


@pytest.mark.parametrize(
    ("platform", "setting", "value"),
    [
        ("sendgrid", "api_key", 5_551_234),
        ("sendgrid", "base_url", 5_551_234),
        ("sendgrid", "on_behalf_of", ["sub-user"]),
        ("sendgrid", "rates", 5_551_234),
        ("sendgrid", "unknown_fields", "perhaps"),
        ("loops", "api_key", True),
        ("loops", "source", 5_551_234),
        ("emarsys", "client_id", 5_551_234),
    ],
)
def test_a_setting_of_an_account_is_refused_by_name_and_never_shown(platform, setting, value):
    with pytest.raises(SettingError) as refused:
        registry.build(platform, **{**({} if platform == "emarsys" else KEY), setting: value})

    assert refused.value.name == setting
    assert "5551234" not in str(refused.value)
