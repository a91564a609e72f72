-- Small changes of state that must succeed with full memory too: after the DEL in front the rest may run.
-- ARGV: the wake-up that may be sent again at once (none: none), then for each change a command (HSET, HDEL, ZADD,
--       PSETEX or SET), a key and two arguments.
-- Returns 1.
redis.call('DEL', k('wakeup:' .. ARGV[1]))
for at = 2, #ARGV, 4 do redis.call(ARGV[at], k(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]) end
return 1
