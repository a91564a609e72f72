-- Claim the next due batch for a lease.
-- ARGV: stage (dispatch or poll), lease ms, claim token, orphan wait ms, exchanges at once where no worker has said how
--       many, and for how long the other pending wake-ups count, ms, if this claim consumes one (else 0).
-- Returns {'ok', now, batch, its fields, fields of its root}; {'paused' | 'stopped' | 'busy' | 'none', now}; or
-- {'probe', now}: the destination is stopped, and this worker asks the platform.
local now, polls = steady(), ARGV[1] == 'poll'
local function claimed(n)
  local name = k('batch:' .. n)
  return {'ok', now, n, redis.call('HGETALL', name), redis.call('HGETALL', k('batch:' .. redis.call('HGET', name, 'root')))}
end
local zsets = polls and {'due:poll', 'due:poll:low'} or {'due:dispatch', 'due:dispatch:low'}
local wakeup = k('wakeup:' .. ARGV[1])
local pending = tonumber(redis.call('GET', wakeup) or 0)
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now) -- runs with full memory, and lets what follows run
if ARGV[6] ~= '0' then
  redis.call('DEL', wakeup)
  if pending > 1 then redis.call('SET', wakeup, pending - 1, 'PX', ARGV[6]) end
end
-- The same token asked before, and the reply was lost: its claim stands, and ends when its batch is due again.
local lapses = redis.call('ZSCORE', k('claims'), ARGV[3])
if lapses then
  for _, zset in ipairs(zsets) do
    for _, n in ipairs(redis.call('ZRANGEBYSCORE', k(zset), lapses, lapses)) do
      if redis.call('HGET', k('batch:' .. n), 'token') == ARGV[3] then return claimed(n) end
    end
  end
  return {polls and 'none' or 'probe', now}
end
local state = redis.call('HMGET', k('state'), 'state', 'probe_at', 'slots')
if state[1] == 'paused' and not polls then return {'paused', now} end
if redis.call('ZCARD', k('claims')) >= tonumber(state[3] or ARGV[5]) then return {'busy', now} end
if state[1] == 'stopped' then
  if polls or tonumber(state[2] or 0) > now then return {'stopped', now} end
  redis.call('HSET', k('state'), 'probe_at', now + ARGV[2])
  redis.call('ZADD', k('claims'), now + ARGV[2], ARGV[3])
  return {'probe', now}
end
for _, zset in ipairs(zsets) do
  for _, n in ipairs(redis.call('ZRANGEBYSCORE', k(zset), '-inf', now, 'LIMIT', 0, 20)) do
    local name = k('batch:' .. n)
    local batch = redis.call('HMGET', name, 'lane', 'root', 'state')
    if not polls and redis.call('HGET', k('lane:' .. batch[1]), 'paused') then
      redis.call('ZADD', k(zset), now + 1000, n)
    else
      -- A claim that ended while sending may have sent. If that made an import, nobody follows it: an orphan.
      if batch[3] == 'sending' then redis.call('HSET', k('batch:' .. batch[2]), 'orphan_until', now + ARGV[4]) end
      redis.call('ZADD', k(zset), now + ARGV[2], n)
      redis.call('ZADD', k('claims'), now + ARGV[2], ARGV[3])
      redis.call('HINCRBY', name, 'fence', 1)
      redis.call('HSET', name, 'token', ARGV[3])
      if not polls then
        redis.call('HINCRBY', name, 'claims_count', 1)
        redis.call('HINCRBY', k('batch:' .. batch[2]), 'requests', 1)
        redis.call('HSET', name, 'state', 'sending')
      end
      return claimed(n)
    end
  end
end
return {'none', now}
