-- The platform answers again: batches that wait after passing trouble become due now, behind those that are due already.
-- Two kinds stay as they are: those for which the platform named the time, and those that a worker has.
-- Returns how many became due.
check_type('zset', 'due:dispatch', 'due:dispatch:low')
local now, moved = steady(), 0
redis.call('DEL', k('wakeup:dispatch')) -- runs with full memory, and lets what follows run
for _, zset in ipairs({'due:dispatch', 'due:dispatch:low'}) do
  for _, n in ipairs(redis.call('ZRANGEBYSCORE', k(zset), '(' .. digits(now), '+inf', 'LIMIT', 0, 1000)) do
    local batch = redis.pcall('HMGET', k('batch:' .. n), 'state', 'code', 'retry_after_given')
    if batch[1] == 'ready' and batch[2] and batch[3] ~= '1' then
      redis.call('ZADD', k(zset), now, n)
      moved = moved + 1
    end
  end
end
return moved
