-- The platform answers again: batches that wait after passing trouble are due now, behind those that are due already.
-- Not those for which the platform named the time, and none that somebody has in hand. Returns how many there were.
local now, moved = steady(), 0
redis.call('DEL', k('wakeup:dispatch')) -- runs with full memory, and lets what follows run
for _, zset in ipairs({'due:dispatch', 'due:dispatch:low'}) do
  for _, n in ipairs(redis.call('ZRANGEBYSCORE', k(zset), '(' .. string.format('%d', now), '+inf', 'LIMIT', 0, 1000)) do
    local batch = redis.call('HMGET', k('batch:' .. n), 'state', 'code', 'retry_after_given')
    if batch[1] == 'ready' and batch[2] and batch[3] ~= '1' then
      redis.call('ZADD', k(zset), now, n)
      moved = moved + 1
    end
  end
end
return moved
