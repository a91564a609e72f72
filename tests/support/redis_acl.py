"""The ACL user of the documentation: the commands and channels that the product needs, and no others."""

from collections.abc import Iterable
from typing import Any

#: What an ACL user needs: the commands of the scripts, of the engine and of Celery's broker. README lists the same.
COMMANDS_LISTED = """
    append brpop client|setname decrby del eval evalsha exec exists get getrange hdel hello hget hgetall hscan hincrby
    hkeys hlen hmget hset hsetnx incr incrby info lindex llen lpop lpush lrange lrem lset ltrim mget multi persist
    pexpire ping psetex psubscribe publish punsubscribe rename rpop rpush sadd script|exists script|load set setrange
    smembers srem strlen time ttl unwatch watch zadd zcard zcount zrange zrangebyscore zrem zremrangebyscore
    zrevrange zscan zscore
"""
COMMANDS = frozenset(COMMANDS_LISTED.split())
#: Channels: Celery's remote control. A subscription to a pattern is allowed by its very words only; 0 is the database.
CHANNELS = ("resetchannels", "&acl:broker:*", "&acl:broker:/0.celery.pidbox")
#: Not needed, but the doctor can say more with it. (And `wait`, where CONTACT_INGEST_STORE_ACK_REPLICAS is set.)
COMMANDS_OF_THE_DOCTOR = ["config|get", "hstrlen"]
#: `contact-ingest migrate` needs these too.
COMMANDS_OF_A_MIGRATION = ["hscan", "renamenx", "scan", "type"]
#: What clients say of themselves when they connect. They go on where it is refused, but each refusal is an entry in the
#: server's ACL LOG. Redis 7.0 knows no such subcommands and takes no rule for them; Redis 6.2 knows no subcommands at
#: all and takes any.
GREETINGS = {"6.2": ("client|setinfo", "client|maint_notifications"), "7.0": (), "newer": ("client|setinfo",)}


def allowed(client: Any, more: Iterable[str] = ()) -> list[str]:
    """The rules for these commands, and for those that every user needs, as this server takes them."""
    said = client.info("server")
    line = ".".join(str(said["redis_version"]).split(".")[:2])  # Valkey says that it is Redis 7.2
    return [f"+{command}" for command in (*COMMANDS, *GREETINGS.get(line, GREETINGS["newer"]), *more)]
