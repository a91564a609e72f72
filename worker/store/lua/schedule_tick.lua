-- What is due, and has not been rung for lately. ARGV: how long an unheard bell counts, ms; most unheard bells of a kind,
-- where the workers have not said how many they are.
-- Returns {ms until something is due next, dispatch bells, poll bells, lane...}.
local now, silence, most = steady(), ARGV[1], tonumber(ARGV[2])
local nearest = 60000
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now) -- runs with full memory, and lets what follows run
local function ring(what, wanted)
  local unheard = tonumber(redis.call('GET', k('wakeup:' .. what)) or 0)
  local more = math.max(0, wanted - unheard)
  if more > 0 then redis.call('SET', k('wakeup:' .. what), unheard + more, 'PX', silence) end
  return more
end
local function count_due(zset)
  local due = redis.call('ZCOUNT', k(zset), '-inf', now)
  local first = redis.call('ZRANGEBYSCORE', k(zset), '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if first[2] then nearest = math.min(nearest, first[2] - now) end
  return due
end
for _, root in ipairs(redis.call('ZRANGEBYSCORE', k('quarantine'), '-inf', now, 'LIMIT', 0, 2)) do
  release(root, now)
  redis.call('INCR', k('version'))
end
local dest = redis.call('HMGET', k('state'), 'state', 'probe_at', 'wait_until', 'poll_wait_until', 'slots')
local answer = {0, 0, 0}
most = tonumber(dest[5] or most) -- unheard bells are counted, whoever rang them
if dest[1] == 'stopped' then
  if tonumber(dest[2] or 0) <= now then answer[2] = ring('dispatch', 1) end
else
  local due = dest[1] == 'paused' and 0 or count_due('due:dispatch') + count_due('due:dispatch:low')
  local wait = tonumber(dest[3] or 0) - now
  if due > 0 and wait > 0 then nearest = math.min(nearest, wait)
  else answer[2] = ring('dispatch', math.min(due, most)) end
  local polls = count_due('due:poll') + count_due('due:poll:low')
  wait = tonumber(dest[4] or 0) - now
  if polls > 0 and wait > 0 then nearest = math.min(nearest, wait)
  else answer[3] = ring('poll', math.min(polls, most)) end
end
count_due('due:aggregate')
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', k('due:aggregate'), '-inf', now, 'LIMIT', 0, 50)) do
  if ring('aggregate:' .. lane, 1) > 0 then answer[#answer + 1] = lane end
end
answer[1] = math.floor(nearest)
return answer
