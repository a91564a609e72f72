"""The Celery app. `celery -A contact_ingest.tasks worker` is the only process that an install needs.

Every setting that differs from Celery's default has its reason beside it. Tested against celery 5.7 and kombu 5.7.
"""

import logging
import ssl
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery, bootsteps
from celery.signals import setup_logging
from celery.worker.consumer import consumer

from contact_ingest.config.destinations import none_configured
from contact_ingest.config.logging import configure
from contact_ingest.config.settings import Settings
from contact_ingest.errors import SettingError
from contact_ingest.model.stage import Stage
from contact_ingest.tasks import broker as redis_broker
from contact_ingest.tasks.notify import is_full
from contact_ingest.tasks.ticker import BAD_SETTING, Ticker

#: Log messages of Celery that quote a whole task message. Each maps to the text that replaces it, and to the number of
#: arguments that the new text keeps.
QUOTING_MESSAGES = {
    consumer.UNKNOWN_FORMAT: ("a message that is no task was deleted", 0),
    consumer.UNKNOWN_TASK_ERROR: ("a message for an unknown task was deleted: %s", 1),
    consumer.INVALID_TASK_ERROR: ("an invalid task message was deleted: %s", 1),
    consumer.MESSAGE_DECODE_ERROR: ("a message that cannot be decoded was deleted", 0),
}
#: The supported pools, as `--pool` names them, by the module of Celery that each comes from (celery 5.7).
POOLS = {
    "celery.concurrency.prefork": "prefork",
    "celery.concurrency.thread": "threads",
    "celery.concurrency.solo": "solo",
}


class PoolCheck(bootsteps.Step):  # type: ignore[misc]
    """The Celery bootstep that ends a worker with any other pool before the pool is made, with one line.

    eventlet and gevent replace parts of Python's sockets and threads that the HTTP client and the ticker rely on, such
    as `select.poll`. Under them every exchange fails in this process, and the platform has no part in it."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        module = parent.pool_cls.__module__
        if module not in POOLS:
            given = f"{module.rpartition('.')[2]} ({parent.pool_cls.__qualname__})"
            said = f"--pool: {given} is not supported; start the worker with {', '.join(POOLS.values())}"
            sys.stderr.write(f"{said}\n")
            raise SystemExit(BAD_SETTING)


def _load() -> Settings:
    """The settings. A wrong setting ends the process with one line; Celery would print a page about an exception."""
    try:
        found = Settings.load()
        redis_broker.check_transport(urlsplit(found.broker).scheme)
    except SettingError as wrong:
        sys.stderr.write(f"{wrong}\n")
        raise SystemExit(BAD_SETTING) from None
    if not found.destinations:
        sys.stderr.write(f"{none_configured()}\n")
        raise SystemExit(BAD_SETTING)
    return found


settings = _load()
broker = settings.broker
scheme = urlsplit(broker).scheme


def _tls(url: str) -> dict[str, Any] | None:
    """The TLS options of a `rediss://` broker: kombu checks no certificate unless told to. None for other brokers.
    Files that the URL names are passed on."""
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return None
    query = parse_qs(parts.query)
    files: dict[str, Any] = {
        name: query[name][0] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in query
    }
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **files}


app = Celery(
    "contact_ingest",
    broker=broker,
    include=[f"contact_ingest.tasks.{stage}" for stage in Stage],
)
app.conf.update(
    # JSON only, in both directions: a pickle message can run code.
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    event_serializer="json",
    # Nobody waits for results. A result backend would only grow, and hold what tasks return.
    result_backend=None,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    # Early ack. Late ack loses messages with a killed child, runs two copies after a dropped connection, and makes a
    # worker of celery 5.7 exit when Redis restarts. Batches have leases of their own, so the ticker sends them again.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    # One wake-up at a time: a prefetched wake-up would wait behind a slow one while other workers are free.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # No task of ours has an ETA or countdown. The limit keeps those of others from filling the memory.
    worker_eta_task_limit=100,
    task_create_missing_queues=True,
    task_default_queue=redis_broker.queue_name(scheme, settings.key_prefix),
    # Installations that share a broker other than Redis do not share commands such as `celery control shutdown` either.
    control_exchange=redis_broker.control_exchange(scheme, settings.key_prefix),
    # Events copy the arguments of tasks, and the arguments of one task are records.
    task_send_sent_event=False,
    worker_send_task_events=False,
    # The code has its own deadlines. These limits end a child process that hangs all the same. Only with prefork.
    task_time_limit=120,
    task_soft_time_limit=90,
    worker_max_tasks_per_child=20_000,
    worker_max_memory_per_child=300_000,
    # After SIGTERM a worker finishes the tasks under way, however long they take. After SIGQUIT they get this many
    # seconds: longer than the HTTP deadline of 30 s.
    worker_soft_shutdown_timeout=35.0,
    worker_enable_soft_shutdown_on_idle=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # The ticker sends again what could not be published, so nobody waits for the broker.
    task_publish_retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)
if scheme in redis_broker.REDIS_SCHEMES:
    redis_broker.register()
    # For kombu, a Redis whose memory is full is a channel error: a worker would end, and a new one would not start.
    # But the worker has to live to make room, so it connects again until there is room.
    app.conf.broker_channel_error_retry = True
    app.conf.broker_transport_options = {
        "visibility_timeout": 300,  # concerns only messages that were popped and not yet acknowledged
        "unacked_restore_interval": 5,  # by default such messages are looked for every 100 s
        "unacked_restore_throttle": 1,
        "socket_timeout": 15,  # by default a half-open connection is waited for without end
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "global_keyprefix": f"{settings.key_prefix}:broker:",  # installs can share a server
        "client_name": "contact-ingest-broker",
        "priority_steps": [0],  # one Redis list a queue instead of four
    }
    app.conf.broker_use_ssl = _tls(broker)

app.conf.worker_consumer = "contact_ingest.tasks.consumer:PatientConsumer"
app.steps["worker"].update({PoolCheck, Ticker})


class RedactingFilter(logging.Filter):
    """Removes quotations from Celery's log lines. Celery quotes messages that it cannot use, and the arguments and
    exceptions of tasks that fail. All of these can be records."""

    def filter(self, record: logging.LogRecord) -> bool:
        vars(record).pop("data", None)
        if record.name.startswith("kombu") and record.exc_info and is_full(record.exc_info[1]):
            record.exc_info = None  # comes once a second while the broker's memory is full; the line says enough
        if isinstance(record.msg, str) and record.msg in QUOTING_MESSAGES and isinstance(record.args, tuple):
            record.msg, kept = QUOTING_MESSAGES[record.msg]
            record.args = record.args[:kept]
            record.exc_info = None
        if isinstance(record.args, dict) and "exc" in record.args and record.exc_info:
            # A task that failed: keep only the exception's type. The formatter writes the traceback, without texts.
            record.args = {**record.args, "exc": getattr(record.exc_info[0], "__name__", "an exception")}
        return True


@setup_logging.connect
def _logs(**_: object) -> None:
    """Use the format of our own log lines. Celery's lines about each task are left out: they hold nothing but ids."""
    configure(settings)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RedactingFilter())
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
