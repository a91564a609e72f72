"""Named steps at which a process can be made to die, so that recovery can be proved at each of them.

`CONTACT_INGEST_DIE_AT` names one; nothing else in the environment, and nothing in production, turns this on.
"""

import os
import signal

#: Every step there is, in the order of a contact's journey.
STEPS = (
    "tick.looked",
    "aggregate.staged",
    "aggregate.committed",
    "dispatch.claimed",
    "dispatch.sent",
    "dispatch.settled",
    "poll.claimed",
    "poll.asked",
    "poll.fetched",
    "poll.kept",
    "poll.settled",
)
_die_at = os.environ.get("CONTACT_INGEST_DIE_AT", "")


def step(name: str) -> None:
    """Die here, as by SIGKILL, if this is the step that was asked for."""
    if name == _die_at:
        os.kill(os.getpid(), signal.SIGKILL)
