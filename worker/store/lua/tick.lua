-- What is due, and has not been rung for lately. ARGV: how long a bell silences the next, ms; most bells of a kind.
-- Returns {ms until something is due next, dispatch bells, poll bells, lane...}.
local now, silence, most = steady(), ARGV[1], tonumber(ARGV[2])
local nearest = 60000
redis.call('ZREMRANGEBYSCORE', k('active'), '-inf', now) -- runs with full memory, and lets what follows run
local function ring(what) return redis.call('SET', k('bell:' .. what), 1, 'PX', silence, 'NX') end
local function count_due(zset)
  local due = redis.call('ZCOUNT', k(zset), '-inf', now)
  local first = redis.call('ZRANGEBYSCORE', k(zset), '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if first[2] then nearest = math.min(nearest, first[2] - now) end
  return due
end
for _, root in ipairs(redis.call('ZRANGEBYSCORE', k('free'), '-inf', now, 'LIMIT', 0, 2)) do
  release(root, now)
  redis.call('INCR', k('v'))
end
local dest = redis.call('HMGET', k('dest'), 'state', 'probe_at', 'wait_until', 'poll_wait_until')
local answer = {0, 0, 0}
if dest[1] == 'stopped' then
  if tonumber(dest[2] or 0) <= now and ring('dispatch') then answer[2] = 1 end
else
  local due = dest[1] == 'paused' and 0 or count_due('due') + count_due('later')
  local wait = tonumber(dest[3] or 0) - now
  if due > 0 and wait > 0 then nearest = math.min(nearest, wait)
  elseif due > 0 and ring('dispatch') then answer[2] = math.min(due, most) end
  local polls = count_due('polls')
  wait = tonumber(dest[4] or 0) - now
  if polls > 0 and wait > 0 then nearest = math.min(nearest, wait)
  elseif polls > 0 and ring('poll') then answer[3] = math.min(polls, most) end
end
count_due('aggdue')
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', k('aggdue'), '-inf', now, 'LIMIT', 0, 50)) do
  if ring('aggregate:' .. lane) then answer[#answer + 1] = lane end
end
answer[1] = math.floor(nearest)
return answer
