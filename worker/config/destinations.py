"""The configured destinations, read from the tables of `contact-ingest.toml` and from the environment.

Example of a table:

    [destinations.newsletter]
    platform = "sendgrid"
    api_key_env = "NEWSLETTER_KEY"            # the variable that holds the key; or api_key = "..."
    list_ids = ["8d1b0a0e-3f7e-4b52-9d0f-0f4f6a3d2c11"]

    [destinations.newsletter.fields]
    rename = { plan = "custom_fields.plan" }

A setting that is not a field of `Destination` belongs to the platform; its provider checks the name and the value.
Secrets are wrapped in `SecretStr` here.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from contact_ingest.config.problems import first_problem
from contact_ingest.errors import SettingError

ENV_PREFIX = "CONTACT_INGEST_"
CONFIG_FILE = "contact-ingest.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: Secret settings. A table may hold the secret itself (`api_key`) or name its variable (`api_key_env`).
SECRETS = frozenset({"api_key", "client_id", "client_secret", "username", "secret", "password"})
#: Variables of each platform, by setting. A secret in the environment makes a destination named after its platform.
PLATFORM_VARIABLES: Mapping[str, Mapping[str, str]] = {
    "sendgrid": {"api_key": "SENDGRID_API_KEY", "base_url": "SENDGRID_BASE_URL"},
    "loops": {"api_key": "LOOPS_API_KEY", "base_url": "LOOPS_BASE_URL"},
    "emarsys": {
        "client_id": "EMARSYS_CLIENT_ID",
        "client_secret": "EMARSYS_CLIENT_SECRET",
        "username": "EMARSYS_USERNAME",
        "secret": "EMARSYS_SECRET",
        "base_url": "EMARSYS_BASE_URL",
        "token_url": "EMARSYS_TOKEN_URL",
    },
}


class FieldSettings(BaseModel):
    """Changes to the fields of every record of a destination, before anything else is done with the record. In the
    file: `[destinations.NAME.fields]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rename: dict[str, str] = Field(
        default_factory=dict,
        description='Fields that get another name: { plan = "custom_fields.plan" } renames plan',
    )
    drop: tuple[str, ...] = Field(default=(), description="Fields that are left out of every record")
    constants: dict[str, Any] = Field(
        default_factory=dict, description="Fields with a fixed value, for records that lack them. No consent fields"
    )


class Destination(BaseModel):
    """One account at one platform. In the file: `[destinations.NAME]`. Settings that are not fields here, such as
    keys and addresses, are the platform's own (`account`)."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    platform: str = Field(description="Name of the platform: sendgrid, loops or emarsys")
    unknown_fields: Literal["refuse", "drop", "create"] = Field(
        default="refuse",
        description="Treatment of custom fields that the account lacks: refuse the record, drop the value (it is "
        "counted), or create the field",
    )
    list_ids: tuple[str, ...] = Field(default=(), description="Lists of the account that every contact joins")
    lane: dict[str, Any] = Field(
        default_factory=dict,
        description="Other options that the platform takes per request: contact_list_id of Emarsys",
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        description="Upsert requests that the account may send per rate_window_s. Default: the limit that the "
        "platform publishes",
    )
    rate_window_s: float | None = Field(
        default=None, ge=0.001, le=86_400, description="Length in seconds of the window that rate_limit counts"
    )
    fields: FieldSettings = Field(
        default_factory=FieldSettings, description="Table of the changes to the fields of every record"
    )

    @model_validator(mode="before")
    @classmethod
    def _wrap_secrets(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {k: SecretStr(v) if k in SECRETS and isinstance(v, str) else v for k, v in given.items()}

    def label(self, name: str, setting: str) -> str:
        """The name by which a message refers to a setting: its variable (`SENDGRID_API_KEY`) if the value came from
        there, otherwise its place in the file (`destinations.news.api_key`)."""
        variable = PLATFORM_VARIABLES.get(self.platform, {}).get(setting, "")
        value = self.account.get(setting)
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        return variable if given and os.environ.get(variable) == given else f"destinations.{name}.{setting}"

    @property
    def account(self) -> dict[str, Any]:
        """The platform's own settings, as its provider takes them."""
        return dict(self.model_extra or {})


def none_configured() -> SettingError:
    """The error for a command that needs a destination when there is none."""
    variable = PLATFORM_VARIABLES["sendgrid"]["api_key"]
    return SettingError(variable, f"no destination is configured: set it, or write {CONFIG_FILE}")


def read(config: Path | None) -> dict[str, Destination]:
    """All destinations by name. `config` is the path of the file; None means `contact-ingest.toml`, if there is one.
    Raises `SettingError`."""
    path = config or Path(CONFIG_FILE)
    if config is not None and not path.is_file():
        raise SettingError(f"{ENV_PREFIX}CONFIG", f"there is no file {path}")
    tables = _tables(path) if path.is_file() else {}
    found = {name: _destination(name, table) for name, table in tables.items()}
    for platform, variables in PLATFORM_VARIABLES.items():
        given = any(os.environ.get(variable) for name, variable in variables.items() if name in SECRETS)
        if given and all(made.platform != platform for made in found.values()):
            found[platform] = _destination(platform, {"platform": platform})
    return found


def _tables(path: Path) -> dict[str, Any]:
    """The tables below `[destinations]` of the file, by name."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as wrong:
        raise SettingError(str(path), _place(wrong)) from None
    except (OSError, UnicodeDecodeError) as wrong:
        raise SettingError(str(path), f"cannot be read: {type(wrong).__name__}") from None
    for key in content:
        if key != "destinations":
            raise SettingError(f"{path}: {key}", "no such table; there is: destinations")
    tables = content.get("destinations", {})
    if not isinstance(tables, dict):
        raise SettingError(f"{path}: destinations", "must be tables, as in [destinations.newsletter]")
    return tables


def _destination(name: str, table: Mapping[str, Any]) -> Destination:
    label = f"destinations.{name}"
    if not NAME.fullmatch(name):
        raise SettingError(label, "a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter or digit")
    if not isinstance(table, Mapping):
        raise SettingError(label, "must be a table")
    fields = dict(table)
    _add_named_variables(fields, label)
    _add_platform_variables(fields, name)
    if str(fields.get("platform")) in PLATFORM_VARIABLES:
        _require_key(fields, label)
    try:
        return Destination(**fields)
    except ValidationError as wrong:
        field, problem = _problem_of(wrong)
        raise SettingError(f"{label}.{field}", problem) from None


def _add_named_variables(fields: dict[str, Any], label: str) -> None:
    """Replace `api_key_env = "NAME"` with the value of the variable NAME; likewise for the other secrets."""
    for secret in SECRETS:
        variable = fields.pop(f"{secret}_env", None)
        if variable is None:
            continue
        if not isinstance(variable, str):
            raise SettingError(f"{label}.{secret}_env", "must be the name of a variable")
        if not os.environ.get(variable):
            raise SettingError(f"{label}.{secret}", f"missing: set {variable}, or {secret}")
        fields[secret] = os.environ[variable]


def _add_platform_variables(fields: dict[str, Any], name: str) -> None:
    """Add settings from the platform's variables. A variable overrides the file only for the destination that is named
    after its platform; for other destinations it fills in what the file leaves out."""
    platform = str(fields.get("platform"))
    for setting, variable in PLATFORM_VARIABLES.get(platform, {}).items():
        if os.environ.get(variable) and (name == platform or setting not in fields):
            fields[setting] = os.environ[variable]


def _require_key(fields: Mapping[str, Any], label: str) -> None:
    secrets = {n: v for n, v in PLATFORM_VARIABLES[str(fields["platform"])].items() if n in SECRETS}
    if not any(name in fields for name in secrets):
        name, variable = next(iter(secrets.items()))
        raise SettingError(f"{label}.{name}", f"missing: set {variable}, or {name}")


def _place(wrong: tomllib.TOMLDecodeError) -> str:
    """The line and column of the mistake. The parser's own text is not used: it may quote a key."""
    found = re.search(r"at line \d+, column \d+|at end of document", str(wrong))
    return f"is not TOML {found[0] if found else ''}".rstrip()


def _problem_of(wrong: ValidationError) -> tuple[str, str]:
    """The first wrong setting of a table, such as `fields.drop`, and what is wrong with it."""
    place, problem = first_problem(wrong)
    depth = 2 if place[0] == "fields" else 1
    setting, inner = ".".join(map(str, place[:depth])), place[depth:]
    if setting == "platform":
        problem = f"{problem}; write one of {', '.join(sorted(PLATFORM_VARIABLES))}"
    if problem == "no such setting":
        return setting, f"{problem}; there is {', '.join(FieldSettings.model_fields)}"
    if inner and isinstance(inner[0], int):
        return setting, f"item {inner[0] + 1} {problem}"
    return setting, f"each value {problem}" if inner else problem


def setting_names(own: Sequence[str]) -> tuple[str, ...]:
    """The settings that the table of a destination may have. `own` are those of its platform."""
    variables = [f"{name}_env" for name in own if name in SECRETS]
    return (*Destination.model_fields, *own, *variables)
