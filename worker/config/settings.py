"""The settings of one process: read once, validated, then frozen.

Settings come from the environment. Destinations come from `contact-ingest.toml` and from the environment (see
`destinations`). A wrong or unknown setting raises `SettingError`, and the message begins with the setting's name. Keys
and addresses are `SecretStr`: no `repr` shows them.

`docs/configuration.md` is generated from the names, defaults, ranges and descriptions below. A name ends with its unit:
`_s` is seconds, `_bytes` is bytes.
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
from contact_ingest.config.problems import first_problem
from contact_ingest.config.redis_url import check_redis_url, for_kombu, is_redis
from contact_ingest.errors import SettingError

#: Variables without the prefix.
_OTHER_VARIABLES = ("REDIS_URL", "CELERY_BROKER_URL")
#: The longest span that a setting may have: ten years. Redis counts milliseconds, and a number beyond its own would be
#: refused only when it is used.
LONGEST_S = 315_360_000

__all__ = ["ENV_PREFIX", "Destination", "Settings"]


class Settings(BaseSettings):
    """Settings of the whole process. The variable of a field is `CONTACT_INGEST_<NAME>` in upper case
    (`CONTACT_INGEST_LEASE_S=45`), except for REDIS_URL and CELERY_BROKER_URL."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias="REDIS_URL",
        description="Address of the Redis server that holds lanes, batches and failures: redis://, rediss:// or unix://",
    )
    broker_url: SecretStr | None = Field(
        None,
        validation_alias="CELERY_BROKER_URL",
        description="Address of Celery's broker, which carries the wake-ups between workers. Default: REDIS_URL",
    )
    key_prefix: str = Field(
        "contact-ingest",
        description="Every key in Redis begins with this prefix. Installs with different prefixes can share a server",
    )
    config: Path | None = Field(
        None,
        description="Path of the configuration file. Default: contact-ingest.toml in the working directory, if any",
    )
    max_wait_s: float = Field(
        5, ge=0, le=3600, description="A record waits at most this long for other records to fill a request body"
    )
    max_body_bytes: int | None = Field(
        None,
        ge=65_536,
        description="Largest request body, no larger than the platform allows. Default: the platform's cap",
    )
    max_lane_bytes: int = Field(
        1_000_000_000,
        ge=1_000_000,
        le=10**15,
        description="A lane that holds this many bytes of records refuses further ones",
    )
    max_record_bytes: int = Field(
        1_000_000, ge=1_000, le=6_000_000, description="Largest record that `enqueue` accepts, as JSON"
    )
    max_open_batches: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Number of batches of one destination that may be packed and not yet settled. Default: 64, or "
        "twice what the rate limit lets out in ten seconds if that is more",
    )
    poll_first_s: float = Field(
        5, ge=0.05, le=3600, description="Time from an upsert to the first poll of its import; later gaps grow from it"
    )
    poll_deadline_s: float = Field(
        21_600,
        ge=1,
        le=LONGEST_S,
        description="An import that has not ended after this time fails with the code no_verdict",
    )
    retry_window_s: float = Field(
        86_400,
        ge=1,
        le=LONGEST_S,
        description="A batch that the platform does not take is sent again for this long; then it fails",
    )
    breaker_s: float = Field(
        60,
        ge=0.05,
        le=LONGEST_S,
        description="After five failures in a row a platform gets no request for this long, then one probe",
    )
    orphan_wait_s: float = Field(
        600,
        ge=0,
        le=LONGEST_S,
        description="After a request of unknown fate, newer records of its contacts are held for this long",
    )
    lease_s: float = Field(
        45, ge=2, le=3600, description="A batch that a crashed worker had claimed is due again after this time"
    )
    keep_batches_s: float = Field(604_800, ge=60, le=LONGEST_S, description="Settled batches stay listed for this long")
    keep_failures_s: float = Field(
        2_592_000, ge=60, le=LONGEST_S, description="Failed records are discarded after this time"
    )
    store_ack_replicas: int = Field(
        0, ge=0, le=10, description="Number of Redis replicas that must have received an enqueue or a claim (WAIT)"
    )
    http_proxy: SecretStr | None = Field(
        None,
        description="Proxy for requests to platforms: http://host:port or http://user:password@host:port. It is asked "
        "for tunnels (CONNECT). Loopback goes without it. HTTPS_PROXY, NO_PROXY and the like are not read",
    )
    ca_file: Path | None = Field(
        None,
        description="File of certificate authorities (PEM) that are trusted for platforms, beside the public ones",
    )
    log_json: bool = Field(default=False, description="Write each log line as one JSON object")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level of the log lines that are written"
    )
    traps: str = Field(
        "", description="Directory of fail-point traps, for recovery tests only; see worker/failpoints.py"
    )

    destinations: Mapping[str, Destination] = Field(
        default_factory=dict,
        exclude=True,
        description="Destinations by name, from the tables [destinations.NAME] of the file and from the environment",
    )

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
            raise ValueError("must be 1 to 63 letters, digits and : . _ - and begin with a letter or digit")
        return value

    @classmethod
    def load(cls) -> "Settings":
        """Read the environment and the configuration file. Raises `SettingError` with the name of the wrong setting."""
        own = (name for name, field in cls.model_fields.items() if field.validation_alias is None)
        known = {f"{ENV_PREFIX}{name.upper()}" for name in own if name != "destinations"}
        unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
        if unknown:
            there = ", ".join((*sorted(known), *_OTHER_VARIABLES))
            raise SettingError(unknown[0], f"no such setting; there are {there}")
        try:
            settings = cls()
        except ValidationError as wrong:
            place, problem = first_problem(wrong)
            raise SettingError(_variable(str(place[0])), problem) from None
        for name, url in (("REDIS_URL", settings.redis_url), ("CELERY_BROKER_URL", settings.broker_url)):
            if url is not None and (name == "REDIS_URL" or is_redis(url.get_secret_value())):
                check_redis_url(name, url.get_secret_value())
        if settings.lease_s < settings.deadline_s + 1:
            raise SettingError(f"{ENV_PREFIX}LEASE_S", "is too short for one HTTP exchange; give 3 seconds or more")
        return settings.model_copy(update={"destinations": destinations.read(settings.config)})

    @property
    def broker(self) -> str:
        """The broker's address as kombu writes it: `redis+socket:` instead of `unix:`."""
        return for_kombu((self.broker_url or self.redis_url).get_secret_value())

    @property
    def file(self) -> Path | None:
        """The configuration file that was read; None if there is none."""
        path = self.config or Path(CONFIG_FILE)
        return path if path.is_file() else None

    @classmethod
    def without_environment(cls, **values: Any) -> "Settings":
        """Defaults and these values; the environment is not read. Not validated. For the demonstration and for
        tests."""
        return cls.model_construct(**values)

    @property
    def deadline_s(self) -> float:
        """The longest HTTP exchange: two thirds of the lease, and 30 seconds at most. The lease must not end while a
        request is under way."""
        return min(30.0, self.lease_s * 2 / 3)

    def destination(self, name: str) -> Destination:
        """Raises `SettingError` if there is no destination of that name."""
        if name not in self.destinations:
            there = ", ".join(sorted(self.destinations)) or f"none; {destinations.none_configured()}"
            raise SettingError(f"destinations.{name}", f"no such destination; there is: {there}")
        return self.destinations[name]


def _variable(field: str) -> str:
    """The variable of a field; pydantic names a field with a variable of its own by that variable."""
    return field if field in _OTHER_VARIABLES else f"{ENV_PREFIX}{field.upper()}"
