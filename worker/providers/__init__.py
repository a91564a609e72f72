"""The platforms by name. A new one is a module beside these and a line in `REGISTRY`."""

import inspect
from collections.abc import Callable
from typing import Any

from worker.errors import SettingError
from worker.providers.base import Provider
from worker.providers.sendgrid import SendGrid

REGISTRY: dict[str, Callable[..., Provider]] = {
    "sendgrid": SendGrid,
}


def build(platform: str, **config: Any) -> Provider:
    """An account at a platform. Raises `SettingError` naming what is unknown, missing or wrong."""
    if platform not in REGISTRY:
        raise SettingError("platform", f"must be one of {', '.join(sorted(REGISTRY))}")
    maker = REGISTRY[platform]
    takes = inspect.signature(maker).parameters
    for name in config:
        if name not in takes:
            raise SettingError(name, f"is not a setting of {platform}; it takes {', '.join(takes)}")
    for name, parameter in takes.items():
        if parameter.default is parameter.empty and name not in config:
            raise SettingError(name, f"is needed for {platform}")
    return maker(**config)
