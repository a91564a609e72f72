"""Whether somebody takes the bells out of the broker. A broker that is no Redis cannot be looked into."""

from collections.abc import Iterator

from contact_ingest.operations.doctor.findings import Finding, Install, alive, ok, wrong

#: Messages that wait in the broker while nobody takes them.
QUEUE_LONG = 100
#: A bell lasts a minute; one that lies there so much longer has been taken by nobody, give or take the clocks.
GRACE_S = 10.0


def check_broker(engine: Install) -> Iterator[Finding]:
    """Messages that nobody takes. A heartbeat comes from a worker's main process, so it says nothing of its pool: a
    pool that hangs shows by bells that lie there longer than they last."""
    broker_queue = engine.broker_queue
    if broker_queue is None:
        return
    waiting, overdue_s = len(broker_queue), broker_queue.overdue_s()
    if waiting > QUEUE_LONG and not alive(engine):
        yield wrong(
            "broker",
            f"{waiting} messages wait in the queue, and no worker takes them",
            "start a worker: celery -A contact_ingest.tasks worker",
        )
    elif overdue_s > GRACE_S and alive(engine):
        yield wrong(
            "broker",
            f"{waiting} messages wait in the queue, and the oldest expired {overdue_s:.0f} s ago without being taken, "
            "though workers tick: their pools hang, or are far too small",
            "restart the workers; if it comes back, start more of them, or with a larger --concurrency",
        )
    else:
        yield ok("broker", f"{waiting} messages wait")
