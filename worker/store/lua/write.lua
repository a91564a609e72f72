-- Small changes of state that must go through with full memory too: after the DEL in front the rest may run.
-- ARGV: the bell that may ring again (none: none), then for each change a command (HSET, HDEL, ZADD, PSETEX or SET), a
--       key and two arguments.
redis.call('DEL', k('wakeup:' .. ARGV[1]))
for at = 2, #ARGV, 4 do redis.call(ARGV[at], k(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]) end
return 1
