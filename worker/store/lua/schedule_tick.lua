-- Look for what is due, and count the wake-ups that this calls for. Contacts whose quarantine is over are released.
-- ARGV: how long a pending wake-up counts, ms; most pending ones of a stage, where no worker has said how many exchanges
--       the destination may have at once.
-- Returns {ms until something else is due, wake-ups for dispatch, wake-ups for poll, lane to aggregate...}. What has
-- pending wake-ups already is left out.
local silence, most = digits(whole(ARGV[1], 1)), whole(ARGV[2], 0)
local nearest = 60000
-- Lanes of `held_lanes` that one tick makes due, a fraction of a millisecond of the server's time, and the pause to the
-- next tick while there are more of them.
local HELD_AT_ONCE, HELD_PAUSE_MS = 100, 50
check_type('hash', 'state')
check_type('zset', 'claims', 'quarantine', 'due:aggregate', 'held_lanes', unpack(DUE_BATCHES))
check_counters('version', 'released')
for _, root in ipairs(redis.call('ZRANGE', k('quarantine'), 0, 1)) do check_release(root) end
local now = steady()
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now) -- runs with full memory, and lets what follows run

-- Count so many wake-ups of a stage less those that are pending; returns how many to send.
local function wake(stage, wanted)
  local pending = number_in(redis.pcall('GET', k('wakeup:' .. stage))) or 0
  local more = math.max(0, wanted - pending)
  if more > 0 then redis.call('SET', k('wakeup:' .. stage), pending + more, 'PX', silence) end
  return more
end

-- How many members of a sorted set are due; the first that is not due yet may be the nearest.
local function count_due(zset)
  local due = redis.call('ZCOUNT', k(zset), '-inf', now)
  local first = redis.call('ZRANGEBYSCORE', k(zset), '(' .. digits(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if first[2] then nearest = math.min(nearest, first[2] - now) end
  return due
end

-- Lanes in which something was held or retried when contacts were last released become due, a few with each tick.
local function make_held_lanes_due()
  local released = digits(number_in(redis.call('GET', k('released'))) or 0)
  local lanes = redis.call('ZRANGEBYSCORE', k('held_lanes'), '-inf', '(' .. released, 'LIMIT', 0, HELD_AT_ONCE)
  local due, told = {}, {}
  for _, lane in ipairs(lanes) do
    -- With pcall, since lanes are not looked at twice: a lane without readable fields is due at once.
    local since, wait = unpack(redis.pcall('HMGET', k('lane:' .. lane), 'held_at', 'max_wait'))
    due[#due + 1] = digits(math.max(now, (number_in(since) or now) + (number_in(wait) or 0)))
    due[#due + 1] = lane
    told[#told + 1] = released
    told[#told + 1] = lane
  end
  if #lanes == 0 then return end
  redis.call('ZADD', k('due:aggregate'), 'LT', unpack(due))
  redis.call('ZADD', k('held_lanes'), unpack(told))
  if #lanes == HELD_AT_ONCE then nearest = math.min(nearest, HELD_PAUSE_MS) end
end

for _, root in ipairs(redis.call('ZRANGEBYSCORE', k('quarantine'), '-inf', now, 'LIMIT', 0, 2)) do
  release(root)
end
make_held_lanes_due()
local state = redis.call('HMGET', k('state'), 'state', 'probe_at', 'wait_until', 'poll_wait_until', 'slots')
local answer = {0, 0, 0}
most = number_in(state[5]) or most
if state[1] == 'stopped' then
  if (number_in(state[2]) or 0) <= now then answer[2] = wake('dispatch', 1) end -- it probes
else
  local due = state[1] == 'paused' and 0 or count_due('due:dispatch') + count_due('due:dispatch:low')
    + count_due('due:dispatch:trial')
  local wait = (number_in(state[3]) or 0) - now
  if due > 0 and wait > 0 then nearest = math.min(nearest, wait)
  else answer[2] = wake('dispatch', math.min(due, most)) end
  local polls = count_due('due:poll') + count_due('due:poll:low')
  wait = (number_in(state[4]) or 0) - now
  if polls > 0 and wait > 0 then nearest = math.min(nearest, wait)
  else answer[3] = wake('poll', math.min(polls, most)) end
end
count_due('due:aggregate')
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', k('due:aggregate'), '-inf', now, 'LIMIT', 0, 50)) do
  if wake('aggregate:' .. lane, 1) > 0 then answer[#answer + 1] = lane end
end
answer[1] = math.floor(nearest)
return answer
