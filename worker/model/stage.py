"""The stages of a record's journey. A stage has one name everywhere: task, module, due set, fail point, failure."""

from enum import StrEnum


class Stage(StrEnum):
    """In the order of the journey. The task of a stage is `contacts.<stage>`: `contacts.aggregate`."""

    ENQUEUE = "enqueue"
    AGGREGATE = "aggregate"
    DISPATCH = "dispatch"
    POLL = "poll"
    RETRY = "retry"
