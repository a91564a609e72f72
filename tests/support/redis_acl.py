"""The ACL user of the documentation: the commands and channels that the product needs, and no others."""

#: What an ACL user needs: the commands of the scripts, of the engine and of Celery's broker. README lists the same.
COMMANDS_LISTED = """
    append brpop client|setinfo client|setname decrby del eval evalsha exec exists get getrange hdel hello hget hgetall
    hincrby
    hkeys hlen hmget hset hsetnx incr incrby info lindex llen lpop lpush lrange lrem lset ltrim mget multi
    persist pexpire ping psetex psubscribe publish punsubscribe rpop rpush sadd script|exists script|load set setrange
    smembers srem strlen time ttl unwatch watch zadd zcard zcount zrange zrangebyscore zrem zremrangebyscore zrevrange zscore
"""
COMMANDS = frozenset(COMMANDS_LISTED.split())
#: Channels: Celery's remote control. A subscription to a pattern is allowed by its very words only; 0 is the database.
CHANNELS = ("&acl:broker:*", "&acl:broker:/0.celery.pidbox")
#: Not needed, but the doctor can say more with it. (And `wait`, where CONTACT_INGEST_STORE_ACK_REPLICAS is set.)
COMMANDS_OF_THE_DOCTOR = ["config|get", "hstrlen"]
#: `contact-ingest migrate` needs these too.
COMMANDS_OF_A_MIGRATION = ["hscan", "renamenx", "scan", "type"]
