"""The platforms by name. A new one is a module beside these and a line in `REGISTRY`."""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from contact_ingest.errors import SettingError
from contact_ingest.providers.base import Provider
from contact_ingest.providers.emarsys.provider import from_settings as emarsys_from_settings
from contact_ingest.providers.loops.provider import Loops
from contact_ingest.providers.sendgrid.provider import SendGrid

#: The group of entry points by which an installed package adds a platform.
ENTRY_POINTS = "contact_ingest.providers"

REGISTRY: dict[str, Callable[..., Provider]] = {
    "emarsys": emarsys_from_settings,
    "loops": Loops,
    "sendgrid": SendGrid,
}


def platforms() -> frozenset[str]:
    """The names of all platforms there are: those above, and those that installed packages offer."""
    return frozenset(REGISTRY) | {point.name for point in entry_points(group=ENTRY_POINTS)}


def maker(platform: str) -> Callable[..., Provider]:
    """What makes an account at a platform; a package is loaded only when it is the one that is meant. Raises
    `SettingError`."""
    if platform in REGISTRY:
        return REGISTRY[platform]
    for point in entry_points(group=ENTRY_POINTS, name=platform):
        found: Callable[..., Provider] = point.load()
        return found
    raise SettingError("platform", f"must be one of {', '.join(sorted(platforms()))}")


def takes(platform: str, setting: str) -> bool:
    return setting in _parameters(platform)


def build(platform: str, **config: Any) -> Provider:
    """An account at a platform. Raises `SettingError` naming what is unknown, missing or wrong."""
    parameters = _parameters(platform)
    for name in config:
        if name not in parameters:
            raise SettingError(name, f"is not a setting of {platform}; it takes {', '.join(parameters)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in config:
            raise SettingError(name, f"is needed for {platform}")
    return maker(platform)(**config)


def _parameters(platform: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(maker(platform)).parameters
