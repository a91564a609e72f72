"""The terms of a run: how long everything takes, what the platform permits, how the product and Redis are set."""

from typing import Any

KEY = "SG.campaign"
PREFIX = "campaign"
LEASE_S, ORPHAN_WAIT_S, POLL_DEADLINE_S = 3.0, 8.0, 4.0
#: Seconds. An ordinary job takes JOB_S at most. A request that nobody waits for any more arrives DELAY_S later at most,
#: its job takes LATE_S at most, and the clock jumps FORWARD_S ahead meanwhile: together less than the orphan wait. What
#: ends after the deadline of asking takes OVERDUE_S, less than both waits; so does the job of one who died having sent.
JOB_S, DELAY_S, FORWARD_S = 0.4, 1.0, 1.0
LATE_S, OVERDUE_S, WIDOWED_S = (4.5, 5.5), (8.0, 9.0), 7.0
MAX_BYTES = 65_536
#: A request that nobody waits for any more: it arrives so long after it was sent, s, which is past its deadline.
ORPHANED_S = (2.3, 4.5)
DIALS = {"job_seconds": [0.02, JOB_S], "latency_ms": [0, 20]}
SETTINGS: dict[str, Any] = {
    "lease_s": LEASE_S,
    "orphan_wait_s": ORPHAN_WAIT_S,
    "poll_first_s": 0.05,
    "poll_deadline_s": POLL_DEADLINE_S,
    "max_wait_s": 0.3,
    "max_body_bytes": MAX_BYTES,
    "retry_window_s": 30.0,
    "breaker_s": 0.5,
}
#: What is killed is the server and not the machine: what it has written is in the kernel's hands and survives.
SERVER = ("--appendfsync", "no", "--repl-diskless-sync-delay", "0")
