"""What can be set, read once, validated, then frozen. Environment first; `contact-ingest.toml` adds destinations.

A wrong or unknown setting stops the start with its name. Keys are secrets: no `repr` shows them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from contact_ingest.config import destinations
from contact_ingest.config.destinations import CONFIG_FILE, ENV_PREFIX, Destination
from contact_ingest.config.redis_url import check_redis_url, for_kombu, is_redis
from contact_ingest.errors import SettingError

__all__ = ["ENV_PREFIX", "Destination", "Settings"]


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
    breaker_s: float = Field(60, ge=0.05, description="a platform that fails is left alone for so long, then asked")
    orphan_wait_s: float = Field(600, ge=0, description="contacts of a request of unknown fate stay busy")
    lease_s: float = Field(45, ge=2, le=3600, description="a crashed worker's batch is due again after this")
    keep_batches_s: float = Field(604_800, ge=60, description="settled batches are listed for so long")
    keep_failures_s: float = Field(2_592_000, ge=60, description="failures older than this are discarded")
    store_ack_replicas: int = Field(0, ge=0, le=10, description="replicas that must have an enqueue, or a claim")
    log_json: bool = Field(default=False, description="log lines as JSON")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    traps: str = Field("", description="a directory of fail-points, for recovery tests: see steps.py")

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
            name, problem = destinations.first_problem(wrong)
            raise SettingError(_variable(name), problem) from None
        for name, url in (("REDIS_URL", settings.redis_url), ("CELERY_BROKER_URL", settings.broker_url)):
            if url is not None and (name == "REDIS_URL" or is_redis(url.get_secret_value())):
                check_redis_url(name, url.get_secret_value())
        if settings.lease_s < settings.deadline_s + 1:
            raise SettingError(f"{ENV_PREFIX}LEASE_S", "too short for one HTTP exchange")
        return settings.model_copy(update={"destinations": destinations.read(settings.config)})

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
            there = ", ".join(sorted(self.destinations)) or f"none; {destinations.none_configured()}"
            raise SettingError(f"destinations.{name}", f"no such destination; there is: {there}")
        return self.destinations[name]


def _variable(field: str) -> str:
    return field if field in ("REDIS_URL", "CELERY_BROKER_URL") else f"{ENV_PREFIX}{field.upper()}"
