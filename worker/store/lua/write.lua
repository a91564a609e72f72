-- Small changes of state that must succeed with full memory too: after the DEL in front the rest may run.
-- ARGV: the wake-up that may be sent again at once (none: none), then for each change a command (HSET, HDEL, ZADD,
--       PSETEX or SET), a key and two arguments.
-- Returns 1.
local KINDS = {HSET = 'hash', HDEL = 'hash', ZADD = 'zset', PSETEX = 'string', SET = 'string'}
if #ARGV % 4 ~= 1 then refuse('a change has more or fewer than four parts') end
for at = 2, #ARGV, 4 do
  local command, first, second = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  if not KINDS[command] then refuse('a change has a command that is not listed') end
  if command == 'PSETEX' then ARGV[at + 2] = digits(whole(first, 1)) end
  if command == 'ZADD' then ARGV[at + 2] = digits(whole(first)) end
  if command == 'SET' and second ~= 'NX' and second ~= 'XX' then refuse('SET takes NX or XX here') end
  check_type(KINDS[command], ARGV[at + 1])
end
redis.call('DEL', k('wakeup:' .. ARGV[1]))
for at = 2, #ARGV, 4 do redis.call(ARGV[at], k(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]) end
return 1
