"""What can be set, read once, validated, then frozen. Environment first; `contact-ingest.toml` adds destinations.

A wrong or unknown setting stops the start with its name. Keys are secrets: no `repr` shows them.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.addresses import check_redis_url, for_kombu, is_redis
from worker.errors import SettingError

ENV_PREFIX = "CONTACT_INGEST_"
CONFIG_FILE = "contact-ingest.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: Platforms that one environment variable makes a destination of, by that variable.
PLATFORM_KEYS = {"sendgrid": "SENDGRID_API_KEY"}
BASE_URLS = {"sendgrid": ("SENDGRID_BASE_URL", "https://api.sendgrid.com")}


class Destination(BaseModel):
    """One account at a platform. In the file: `[destinations.NAME]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    platform: str
    api_key: SecretStr = Field(description="the account's key; or name a variable with api_key_env")
    base_url: str = ""
    list_ids: tuple[str, ...] = Field(default=(), description="lists that every contact joins")
    on_behalf_of: str = Field(default="", description="subuser, or `account-id ID`")
    unknown_fields: Literal["refuse", "drop", "create"] = "refuse"
    rate_limit: int | None = Field(default=None, ge=1, description="upserts per window, if you know better")
    rate_window_s: float | None = Field(default=None, gt=0)


class Settings(BaseSettings):
    """Settings of general use. Each is read from `CONTACT_INGEST_<NAME>` unless its own variable is named."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True)

    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), validation_alias="REDIS_URL")
    broker_url: SecretStr | None = Field(None, validation_alias="CELERY_BROKER_URL")
    key_prefix: str = Field("contact-ingest", description="every key begins with it: installs can share a server")
    config: Path | None = Field(
        None, description="the configuration file; default contact-ingest.toml, if there is one"
    )
    max_wait_s: float = Field(5, ge=0, le=3600, description="longest wait for a fuller body")
    max_body_bytes: int | None = Field(None, ge=65_536, description="cap on a request body; never above the platform's")
    max_lane_bytes: int = Field(1_000_000_000, ge=1_000_000, description="what a lane may hold before producers wait")
    max_record_bytes: int = Field(1_000_000, ge=1_000, le=6_000_000, description="largest record taken at the door")
    max_open_batches: int = Field(64, ge=1, le=10_000, description="batches per destination cut and not yet ended")
    poll_first_s: float = Field(5, ge=0.05, le=3600, description="first look at an import, and the first gap")
    poll_deadline_s: float = Field(21_600, ge=1, description="an import not ended by then fails as no verdict")
    retry_window_s: float = Field(86_400, ge=1, description="how long the same bytes are sent again")
    orphan_wait_s: float = Field(600, ge=0, description="contacts of a request of unknown fate stay busy")
    lease_s: float = Field(45, ge=2, le=3600, description="a crashed worker's batch is due again after this")
    keep_batches_s: float = Field(604_800, ge=60, description="settled batches are listed for so long")
    keep_failures_s: float = Field(2_592_000, ge=60, description="failures older than this are discarded")
    store_ack_replicas: int = Field(0, ge=0, le=10, description="replicas that must have an enqueue before it returns")
    log_json: bool = Field(default=False, description="log lines as JSON")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    die_at: str = Field("", description="a named step at which to die, for recovery tests")

    destinations: Mapping[str, Destination] = Field(default_factory=dict, exclude=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, dotenv_settings, file_secret_settings
        return (init_settings, env_settings)

    @field_validator("key_prefix")
    @classmethod
    def _plain_prefix(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,62}", value):
            raise ValueError("use letters, digits and : . _ - only")
        return value

    @classmethod
    def load(cls) -> "Settings":
        """Read everything. Raises `SettingError` with the name of what is wrong."""
        own = (name for name, field in cls.model_fields.items() if field.validation_alias is None)
        known = {f"{ENV_PREFIX}{name.upper()}" for name in own if name != "destinations"}
        unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
        if unknown:
            raise SettingError(unknown[0], f"no such setting; there are {', '.join(sorted(known))}")
        try:
            settings = cls()
        except ValidationError as wrong:
            name, problem = _first(wrong)
            raise SettingError(_variable(name), problem) from None
        for name, url in (("REDIS_URL", settings.redis_url), ("CELERY_BROKER_URL", settings.broker_url)):
            if url is not None and (name == "REDIS_URL" or is_redis(url.get_secret_value())):
                check_redis_url(name, url.get_secret_value())
        if settings.lease_s < settings.deadline_s + 1:
            raise SettingError(f"{ENV_PREFIX}LEASE_S", "too short for one HTTP exchange")
        return settings.model_copy(update={"destinations": _destinations(settings.config)})

    @property
    def broker(self) -> str:
        """The broker's address in the words of kombu, which knows Unix sockets by another name."""
        return for_kombu((self.broker_url or self.redis_url).get_secret_value())

    @property
    def file(self) -> Path | None:
        """The configuration file in force."""
        path = self.config or Path(CONFIG_FILE)
        return path if path.is_file() else None

    @classmethod
    def without_environment(cls, **values: Any) -> "Settings":
        """Defaults and these values, whatever the environment says: for the demonstration and for tests. Not
        validated."""
        return cls.model_construct(**values)

    @property
    def deadline_s(self) -> float:
        """The end of one HTTP exchange: well inside the lease, 30 seconds at most."""
        return min(30.0, self.lease_s * 2 / 3)

    def destination(self, name: str) -> Destination:
        if name not in self.destinations:
            there = ", ".join(sorted(self.destinations)) or "none; set SENDGRID_API_KEY or write contact-ingest.toml"
            raise SettingError(f"destinations.{name}", f"no such destination; there is: {there}")
        return self.destinations[name]


def _destinations(config: Path | None) -> dict[str, Destination]:
    path = config or Path(CONFIG_FILE)
    if config is not None and not path.is_file():
        raise SettingError(f"{ENV_PREFIX}CONFIG", f"there is no file {path.name}")
    tables = _tables(path) if path.is_file() else {}
    found = {name: _destination(name, table) for name, table in tables.items()}
    for platform, variable in PLATFORM_KEYS.items():
        if os.environ.get(variable) and all(made.platform != platform for made in found.values()):
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
    platform = str(fields.get("platform"))
    _add_key(fields, name, platform)
    variable, default = BASE_URLS.get(platform, ("", ""))
    # The environment comes first, for the destination that carries its platform's name; others have their own.
    given = os.environ.get(variable) if name == platform or "base_url" not in fields else None
    fields["base_url"] = given or fields.get("base_url", default)
    try:
        made = Destination(**fields)
    except ValidationError as wrong:
        field, problem = _first(wrong)
        raise SettingError(f"{label}.{field}", problem) from None
    if platform in BASE_URLS and not _is_http(made.base_url):
        raise SettingError(variable if given else f"{label}.base_url", "must be an http or https address")
    return made


def _add_key(fields: dict[str, Any], name: str, platform: str) -> None:
    """The key from the environment: from the variable that is named, else from the platform's own."""
    own = PLATFORM_KEYS.get(platform, "")
    variable = fields.pop("api_key_env", None)
    if variable is None and ("api_key" not in fields or (name == platform and os.environ.get(own))):
        variable = own or None
    if variable is None:
        return
    if not isinstance(variable, str):
        raise SettingError(f"destinations.{name}.api_key_env", "must be the name of a variable")
    if not os.environ.get(variable):
        raise SettingError(f"destinations.{name}.api_key", f"missing: set {variable}, or api_key")
    fields["api_key"] = os.environ[variable]


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _place(wrong: tomllib.TOMLDecodeError) -> str:
    """Where the file breaks off; its own words may quote a key."""
    found = re.search(r"at line \d+, column \d+|at end of document", str(wrong))
    return f"is not TOML {found[0] if found else ''}".rstrip()


def _first(wrong: ValidationError) -> tuple[str, str]:
    problem = wrong.errors(include_input=False, include_url=False)[0]
    return str(problem["loc"][0]) if problem["loc"] else "settings", problem["msg"].removeprefix("Value error, ")


def _variable(field: str) -> str:
    return field if field in ("REDIS_URL", "CELERY_BROKER_URL") else f"{ENV_PREFIX}{field.upper()}"
