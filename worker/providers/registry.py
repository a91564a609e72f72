"""The platforms by name. A new platform is a folder beside this file and a line in `REGISTRY`.

An installed package adds a platform by an entry point of the group `contact_ingest.providers`, such as
`toy = "toy_platform:Toy"`. Nothing of a platform is imported before it is asked for.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from contact_ingest.config.extras import install_hint
from contact_ingest.errors import SettingError
from contact_ingest.providers.base import LaneRules, Provider

#: The group of entry points by which an installed package adds a platform.
ENTRY_POINTS = "contact_ingest.providers"
#: Parameters of a provider that come from settings which all platforms have.
COMMON = ("unknown_fields", "max_body_bytes", "rates")


@dataclass(frozen=True, slots=True)
class Platform:
    """Where the code of a platform is, as `module:name`.

    `provider` makes an account from the settings of a destination. `lane_rules` makes what a producer needs, from those
    of the same settings that it takes; it imports little. Without it a producer makes the whole provider.
    """

    provider: str
    lane_rules: str = ""

    def provider_maker(self) -> Callable[..., Provider]:
        found: Callable[..., Provider] = _load(self.provider)
        return found

    def lane_rules_maker(self) -> Callable[..., LaneRules]:
        found: Callable[..., LaneRules] = _load(self.lane_rules or self.provider)
        return found


def _shipped(provider: str, lane_rules: str) -> Platform:
    """A platform of this package; the names are relative to `contact_ingest.providers`."""
    return Platform(f"{__package__}.{provider}", f"{__package__}.{lane_rules}")


REGISTRY: dict[str, Platform] = {
    "emarsys": _shipped("emarsys.provider:from_settings", "emarsys.request_limits:from_settings"),
    "loops": _shipped("loops.provider:Loops", "loops.request_limits:LoopsLaneRules"),
    "sendgrid": _shipped("sendgrid.provider:SendGrid", "sendgrid.request_limits:SendGridLaneRules"),
}


def platforms() -> frozenset[str]:
    """The names of all platforms: those of `REGISTRY`, and those that installed packages offer."""
    return frozenset(REGISTRY) | {point.name for point in entry_points(group=ENTRY_POINTS)}


def maker(platform: str) -> Callable[..., Provider]:
    """What makes an account at a platform. Raises `SettingError` for a name that is none."""
    return _find(platform).provider_maker()


def takes(platform: str, setting: str) -> bool:
    """Whether an account at the platform has this setting. Raises `SettingError`."""
    return setting in _parameters(maker(platform))


def own_settings(platform: str) -> tuple[str, ...]:
    """The settings of a destination that are the platform's own. Raises `SettingError`."""
    return tuple(name for name in _parameters(maker(platform)) if name not in COMMON)


def build(platform: str, **config: Any) -> Provider:
    """An account at a platform. Raises `SettingError` that names the setting that is unknown, missing or wrong."""
    parameters = _parameters(maker(platform))
    for name in config:
        if name not in parameters:
            raise SettingError(name, f"is not a setting of {platform}; it takes {', '.join(parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in config:
            raise SettingError(name, f"is needed for {platform}")
    return maker(platform)(**_checked(config, parameters))


def lane_rules(platform: str, **config: Any) -> LaneRules:
    """What a producer needs of an account at a platform. Settings that the rules do not depend on are left to the
    workers. Raises `SettingError`."""
    found = _find(platform)
    make = found.lane_rules_maker()
    taken = {name: value for name, value in config.items() if name in _parameters(make)}
    return make(**_checked(taken, _parameters(make))) if found.lane_rules else build(platform, **taken)


def _find(platform: str) -> Platform:
    if platform in REGISTRY:
        return REGISTRY[platform]
    for point in entry_points(group=ENTRY_POINTS, name=platform):
        return Platform(f"{point.module}:{point.attr}")
    raise SettingError("platform", f"must be one of {', '.join(sorted(platforms()))}")


def _load(name: str) -> Any:
    """Import what `module:name` names. Raises `SettingError` where it needs an extra that is not installed."""
    try:
        return resolve_name(name)
    except ModuleNotFoundError as problem:
        hint = install_hint(problem)
        if hint is None:
            raise
        raise SettingError("platform", hint) from None


def _checked(config: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> Mapping[str, Any]:
    """The settings, each of the type that the platform's code declares. Raises `SettingError` without the value."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # noqa: PLC0415 - the settings have loaded it already

    from contact_ingest.config.problems import first_problem  # noqa: PLC0415 - the same

    strict = ConfigDict(strict=True, arbitrary_types_allowed=True)
    for name, value in config.items():
        declared = parameters[name].annotation
        if declared is inspect.Parameter.empty:
            continue
        try:
            TypeAdapter(declared, config=strict).validate_python(value)
        except ValidationError as wrong:
            raise SettingError(name, first_problem(wrong)[1]) from None
    return config


def _parameters(make: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(make).parameters
