-- Put failed records back in front of their lane. They leave the list of failures only, so that newer records of the
-- same contact still find them.
-- ARGV: lane, then the number of each record.
-- Returns how many were still failed.
local lane, moved = ARGV[1], 0
for at = 2, #ARGV do whole(ARGV[at], 0) end
check_type('zset', 'failures:by_time', 'retry:' .. lane, 'due:aggregate', 'held_lanes')
check_type('hash', 'lane:' .. lane)
check_books(lane)
check_counters('version')
local now = clock()
redis.call('DEL', k('wakeup:aggregate:' .. lane))
for at = 2, #ARGV do
  if redis.call('ZREM', k('failures:by_time'), lane .. ':' .. ARGV[at]) == 1 then
    redis.call('ZADD', k('retry:' .. lane), ARGV[at], ARGV[at])
    moved = moved + 1
  end
end
if moved > 0 then
  book(lane, 'failed', -moved, 'held', moved)
  redis.call('HSET', k('lane:' .. lane), 'held_at', 0)
  redis.call('ZADD', k('due:aggregate'), 'LT', now, lane)
  redis.call('ZADD', k('held_lanes'), 'NX', digits(redis.call('INCR', k('version'))), lane)
end
return moved
