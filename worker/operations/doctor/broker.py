"""Checks of the broker: whether workers take the messages. A broker other than Redis cannot be checked."""

from collections.abc import Iterator

from contact_ingest.operations.doctor.findings import EngineProtocol, Finding, live_workers, ok, wrong

#: More messages than this are a finding if no worker lives.
QUEUE_LONG = 100
#: A wake-up expires after a minute. One that lies in the broker for this many seconds more was taken by nobody. The
#: seconds allow for clocks that differ.
GRACE_S = 10.0


def check_broker(engine: EngineProtocol) -> Iterator[Finding]:
    """Messages that nobody takes. A heartbeat comes from a worker's main process and says nothing of the pool. A pool
    that hangs shows by wake-ups that expire in the broker."""
    broker_queue = engine.broker_queue
    if broker_queue is None:
        return
    waiting, overdue_s = len(broker_queue), broker_queue.overdue_s()
    if waiting > QUEUE_LONG and not live_workers(engine):
        yield wrong(
            "broker",
            f"{waiting} messages wait in the queue, and no worker takes them",
            "start a worker: celery -A contact_ingest.tasks worker",
        )
    elif overdue_s > GRACE_S and live_workers(engine):
        yield wrong(
            "broker",
            f"{waiting} messages wait in the queue, and the oldest expired {overdue_s:.0f} s ago without being taken, "
            "though workers tick: their pools hang, or are far too small",
            "restart the workers; if it comes back, start more of them, or with a larger --concurrency",
        )
    else:
        yield ok("broker", f"{waiting} messages wait")
