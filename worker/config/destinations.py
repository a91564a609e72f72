"""Destinations: from the tables of `contact-ingest.toml`, and from the environment.

What a platform needs beside the common settings goes through to its provider, which knows the names; secrets are
wrapped here and shown nowhere.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from contact_ingest.errors import SettingError

ENV_PREFIX = "CONTACT_INGEST_"
CONFIG_FILE = "contact-ingest.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: Settings that nobody may see. `NAME_env` in a table names the variable that holds one.
SECRETS = frozenset({"api_key", "client_id", "client_secret", "username", "secret", "password"})
#: The variables of each platform, by setting. One secret of it in the environment makes it a destination.
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


class Fields(BaseModel):
    """What a destination does to every record first. In the file: `[destinations.NAME.fields]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    rename: dict[str, str] = Field(default_factory=dict, description="a field to another; custom_fields.NAME as well")
    drop: tuple[str, ...] = Field(default=(), description="fields that are left out")
    constants: dict[str, Any] = Field(default_factory=dict, description="added where a record says nothing else")


class Destination(BaseModel):
    """One account at a platform. In the file: `[destinations.NAME]`. Whatever is not named here is the platform's own:
    keys, addresses."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    platform: str
    unknown_fields: Literal["refuse", "drop", "create"] = "refuse"
    list_ids: tuple[str, ...] = Field(default=(), description="lists that every contact joins")
    lane: dict[str, Any] = Field(default_factory=dict, description="what the platform takes per request, otherwise")
    rate_limit: int | None = Field(default=None, ge=1, description="upserts per window, if you know better")
    rate_window_s: float | None = Field(default=None, gt=0)
    fields: Fields = Field(default_factory=Fields, description="renames, drops and constants")

    @model_validator(mode="before")
    @classmethod
    def _wrap_secrets(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {k: SecretStr(v) if k in SECRETS and isinstance(v, str) else v for k, v in given.items()}

    def label(self, name: str, setting: str) -> str:
        """Where a setting was given: a variable of the environment, or the table."""
        variable = PLATFORM_VARIABLES.get(self.platform, {}).get(setting, "")
        value = self.account.get(setting)
        given = value.get_secret_value() if isinstance(value, SecretStr) else value
        return variable if given and os.environ.get(variable) == given else f"destinations.{name}.{setting}"

    @property
    def account(self) -> dict[str, Any]:
        """The platform's own settings."""
        return dict(self.model_extra or {})


def none_configured() -> SettingError:
    """What to say where a destination is needed and there is none."""
    variable = PLATFORM_VARIABLES["sendgrid"]["api_key"]
    return SettingError(variable, f"no destination is configured: set it, or write {CONFIG_FILE}")


def read(config: Path | None) -> dict[str, Destination]:
    """All destinations by name. Raises `SettingError`."""
    path = config or Path(CONFIG_FILE)
    if config is not None and not path.is_file():
        raise SettingError(f"{ENV_PREFIX}CONFIG", f"there is no file {path.name}")
    tables = _tables(path) if path.is_file() else {}
    found = {name: _destination(name, table) for name, table in tables.items()}
    for platform, variables in PLATFORM_VARIABLES.items():
        given = any(os.environ.get(variable) for name, variable in variables.items() if name in SECRETS)
        if given and all(made.platform != platform for made in found.values()):
            found[platform] = _destination(platform, {"platform": platform})
    return found


def _tables(path: Path) -> dict[str, Any]:
    """The destinations' tables of a configuration file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as wrong:
        raise SettingError(path.name, _place(wrong)) from None
    except (OSError, UnicodeDecodeError) as wrong:
        raise SettingError(path.name, f"cannot be read: {type(wrong).__name__}") from None
    for key in content:
        if key != "destinations":
            raise SettingError(f"{path.name}: {key}", "no such table; there is: destinations")
    tables = content.get("destinations", {})
    if not isinstance(tables, dict):
        raise SettingError(f"{path.name}: destinations", "must be tables, as in [destinations.newsletter]")
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
        field, problem = first_problem(wrong)
        raise SettingError(f"{label}.{field}", problem) from None


def _add_named_variables(fields: dict[str, Any], label: str) -> None:
    """`api_key_env = "NAME"`: the secret is in that variable."""
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
    """The environment comes first, for the destination that carries its platform's name; others have their own."""
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
    """Where the file breaks off; its own words may quote a key."""
    found = re.search(r"at line \d+, column \d+|at end of document", str(wrong))
    return f"is not TOML {found[0] if found else ''}".rstrip()


def first_problem(wrong: ValidationError) -> tuple[str, str]:
    """The setting concerned, and what is wrong with it; never what was given."""
    problem = wrong.errors(include_input=False, include_url=False)[0]
    return str(problem["loc"][0]) if problem["loc"] else "settings", problem["msg"].removeprefix("Value error, ")
