"""What is asked of the server as a whole."""

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

STARTED = "its rewriting has begun"
FORBIDDEN = "the ACL forbids BGREWRITEAOF: allow +bgrewriteaof, or rewrite it by other means"
REFUSED = "the server did not begin to rewrite it, perhaps because it is doing so: try again when that has ended"


def rewrite_aof(client: Any) -> str:
    """Have the append-only file written anew, without what is gone; says what came of it. One that was begun before may
    have copied what is gone by now, so it does not count."""
    try:
        client.bgrewriteaof()
    except NoPermissionError:
        return FORBIDDEN
    except ResponseError:
        return REFUSED
    return STARTED
