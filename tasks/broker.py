"""The broker: the queue's name, whether its transport can be used, and kombu's transport for Redis.

The transport for Redis is changed in one way: something that is no message does not end the worker.

Anybody who reaches the broker can push anything into a queue. kombu 5.7 raises while it reads such an item, and Celery
takes that for an unrecoverable error: the worker ends, and so does the next one. Here the item is deleted, and one line
in the log says so without quoting it.
"""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from json import JSONDecodeError
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport

from contact_ingest.errors import SettingError

log = logging.getLogger(__name__)

#: The queue of an installation with the default prefix.
QUEUE = "contacts"
DEFAULT_PREFIX = "contact-ingest"
REDIS_SCHEMES = ("redis", "rediss", "redis+socket")
#: Schemes whose transport needs a package that Celery does not bring: the package's module, and what installs it.
PACKAGES = {
    "sqs": ("boto3", "celery[sqs]"),
    "gcpubsub": ("google.cloud.pubsub_v1", "celery[gcpubsub]"),
    "azureservicebus": ("azure.servicebus", "celery[azureservicebus]"),
    "azurestoragequeues": ("azure.storage.queue", "celery[azurestoragequeues]"),
    "confluentkafka": ("confluent_kafka", "confluent-kafka"),
    "zookeeper": ("kazoo", "celery[zookeeper]"),
    "mongodb": ("pymongo", "celery[mongodb]"),
}


def queue_name(scheme: str, prefix: str) -> str:
    """The queue of an installation. On Redis the prefix of all keys tells installations apart; elsewhere the queue's
    name does, such as `news.contacts`."""
    return QUEUE if scheme in REDIS_SCHEMES or prefix == DEFAULT_PREFIX else f"{prefix}.{QUEUE}"


def control_exchange(scheme: str, prefix: str) -> str:
    """The exchange of `celery inspect` and `celery control`; Celery's own if the queue has the default name."""
    queue = queue_name(scheme, prefix)
    return "celery" if queue == QUEUE else queue


def check_transport(scheme: str) -> None:
    """Raise `SettingError` for a broker that kombu does not know, or whose package is missing."""
    if scheme in PACKAGES and not _is_installed(PACKAGES[scheme][0]):
        raise SettingError("CELERY_BROKER_URL", f"{scheme} needs a package: pip install '{PACKAGES[scheme][1]}'")
    if scheme.partition("+")[0] not in TRANSPORT_ALIASES:
        raise SettingError("CELERY_BROKER_URL", f"Celery knows no broker of this kind: {scheme[:40]}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


class TolerantChannel(Channel):
    """Reads items from the queues of a Redis broker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (JSONDecodeError, UnicodeDecodeError, RecursionError):
            return _deleted()

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - as kombu calls it
        while True:
            try:
                message = super()._get(queue)  # type: ignore[no-untyped-call]  # raises Empty at the end
            except (JSONDecodeError, UnicodeDecodeError, RecursionError):
                _deleted()
                continue
            if is_message(message):
                return message
            _deleted()


class TolerantTransport(Transport):
    """The transport of a Redis broker."""

    Channel = TolerantChannel

    def _deliver(self, message: Any, queue: str) -> None:
        if is_message(message):
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        else:
            _deleted()


def is_message(item: Any) -> bool:
    """Whether an item has what kombu needs to make a message of it."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        return False
    properties, body = item["properties"], item.get("body")
    return (
        isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), Mapping)
        and isinstance(item.get("headers", {}), Mapping)
        and isinstance(body, str | None)
    )


def register() -> None:
    """Let kombu use this transport for `redis://` and `rediss://` and for a socket."""
    name = f"{TolerantTransport.__module__}:{TolerantTransport.__qualname__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)


def _deleted() -> bool:
    log.error("something that is no message was deleted from a queue of the broker")
    return True
