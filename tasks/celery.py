"""The Celery app: `celery -A tasks worker` is all that must run.

Every setting that differs from Celery's defaults has its reason beside it. Tested against celery 5.7 and kombu 5.7.
"""

import logging
import ssl
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery
from celery.signals import setup_logging
from celery.worker.consumer import consumer

from contact_ingest.config.destinations import none_configured
from contact_ingest.config.logging import configure
from contact_ingest.config.settings import Settings
from contact_ingest.errors import SettingError
from contact_ingest.tasks.notify import is_full
from contact_ingest.tasks.ticker import BAD_SETTING, Ticker

#: Where Celery quotes a whole message, and what is said instead, with so many of its arguments.
QUOTING = {
    consumer.UNKNOWN_FORMAT: ("a message that is no task was deleted", 0),
    consumer.UNKNOWN_TASK_ERROR: ("a message for an unknown task was deleted: %s", 1),
    consumer.INVALID_TASK_ERROR: ("an invalid task message was deleted: %s", 1),
    consumer.MESSAGE_DECODE_ERROR: ("a message that cannot be decoded was deleted", 0),
}


def _load() -> Settings:
    """Celery would wrap an exception into a page of its own; a wrong setting ends the start with one line."""
    try:
        found = Settings.load()
    except SettingError as wrong:
        sys.stderr.write(f"{wrong}\n")
        raise SystemExit(BAD_SETTING) from None
    if not found.destinations:
        sys.stderr.write(f"{none_configured()}\n")
        raise SystemExit(BAD_SETTING)
    return found


settings = _load()
broker = settings.broker


def _tls(url: str) -> dict[str, Any] | None:
    """kombu checks no certificate unless told to; what the address says of files is passed on."""
    engine = urlsplit(url)
    if engine.scheme != "rediss":
        return None
    query = parse_qs(engine.query)
    files: dict[str, Any] = {
        name: query[name][0] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in query
    }
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **files}


app = Celery(
    "contact_ingest",
    broker=broker,
    include=[f"contact_ingest.tasks.{stage}" for stage in ("enqueue", "aggregate", "dispatch", "poll", "retry")],
)
app.conf.update(
    # JSON only, in both directions: a pickle message is code.
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    event_serializer="json",
    # Nothing waits for results; a result backend would only grow, and hold what tasks return.
    result_backend=None,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    # Early ack: late ack loses messages with a killed child, runs two copies after a dropped connection, and makes a
    # 5.7 worker exit when Redis restarts. The ledger redelivers, by its own leases.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    # One bell at a time: a prefetched bell waits behind a slow one for nothing.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # No ETA or countdown is ever used; the guard keeps a stranger's from filling memory.
    worker_eta_task_limit=100,
    task_create_missing_queues=True,
    task_default_queue="contacts",
    # Events copy task arguments, and one task carries records.
    task_send_sent_event=False,
    worker_send_task_events=False,
    # The code has its own deadlines; these end a process that has lost them. prefork only.
    task_time_limit=120,
    task_soft_time_limit=90,
    worker_max_tasks_per_child=20_000,
    worker_max_memory_per_child=300_000,
    # SIGTERM finishes what is in hand, however long. SIGQUIT gives it this: longer than the HTTP deadline of 30 s.
    worker_soft_shutdown_timeout=35.0,
    worker_enable_soft_shutdown_on_idle=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A bell that cannot be rung is rung again by the ticker; nobody waits for it.
    task_publish_retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)
if urlsplit(broker).scheme in ("redis", "rediss", "redis+socket"):
    # To kombu a Redis whose memory is full is an error of the channel, at which a worker would end, and a new one not
    # start: it has to be there to make room. It connects again until there is some.
    app.conf.broker_channel_error_retry = True
    app.conf.worker_consumer = "contact_ingest.tasks.consumer:PatientConsumer"
    app.conf.broker_transport_options = {
        "visibility_timeout": 300,  # only for messages popped and not yet acknowledged
        "unacked_restore_interval": 5,  # the default sweep takes 100 s to notice
        "unacked_restore_throttle": 1,
        "socket_timeout": 15,  # the default waits for ever on a half-open connection
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "global_keyprefix": f"{settings.key_prefix}:broker:",  # installs share a server
        "client_name": "contact-ingest-broker",
        "priority_steps": [0],  # one list a queue instead of four
    }
    app.conf.broker_use_ssl = _tls(broker)

app.steps["worker"].add(Ticker)


class RedactingFilter(logging.Filter):
    """Celery quotes bad messages, and the arguments and exceptions of tasks that fail: all of it can be records."""

    def filter(self, record: logging.LogRecord) -> bool:
        vars(record).pop("data", None)
        if record.name.startswith("kombu") and record.exc_info and is_full(record.exc_info[1]):
            record.exc_info = None  # once a second while the broker's memory is full: the line says enough
        if isinstance(record.msg, str) and record.msg in QUOTING and isinstance(record.args, tuple):
            record.msg, kept = QUOTING[record.msg]
            record.args = record.args[:kept]
            record.exc_info = None
        if isinstance(record.args, dict) and "exc" in record.args and record.exc_info:
            # A task that failed: by its type alone; where it happened follows from the formatter.
            record.args = {**record.args, "exc": getattr(record.exc_info[0], "__name__", "an exception")}
        return True


@setup_logging.connect
def _logs(**_: object) -> None:
    """Our own lines, our own format; Celery's task lines stay below INFO, they would say nothing but ids."""
    configure(settings)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RedactingFilter())
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
