"""The memory of the Redis server: how much of what it may use is used, and from where on that changes what is done.

Above `FULL_SHARE` producers are refused and lanes are cut one body at a time; at the limit Redis refuses every write
that is no script of ours, and those may go a little beyond it, so that what waits can leave.
"""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

#: Intake refuses above this share of the memory Redis may use.
FULL_SHARE = 0.8
#: Our own scripts may go beyond the limit by so much of it, or by so many bytes if that is more; above that nothing
#: more is cut.
BEYOND_SHARE = 0.05
BEYOND_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes used and the most that may be; `most` is 0 where there is no limit, or the ACL does not let us see it."""

    used: int = 0
    most: int = 0

    @property
    def left(self) -> int:
        return max(0, self.most - self.used)

    @property
    def is_short(self) -> bool:
        """Producers are refused."""
        return self.most > 0 and self.used > FULL_SHARE * self.most

    @property
    def is_full(self) -> bool:
        """Redis refuses what is no script of ours."""
        return self.most > 0 and self.used >= self.most

    @property
    def is_spent(self) -> bool:
        """What our scripts may take beyond the limit is taken too."""
        return self.most > 0 and self.used > self.most + max(BEYOND_BYTES, BEYOND_SHARE * self.most)


def look(client: Any) -> Memory:
    try:
        found = client.info("memory")
    except NoPermissionError:
        return Memory()
    return Memory(int(found["used_memory"]), int(found.get("maxmemory", 0)))
