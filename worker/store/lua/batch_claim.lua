-- Claim the next due batch for a lease.
-- ARGV: stage (dispatch or poll), lease ms, claim token, orphan wait ms, exchanges at once where no worker has said how
--       many, and for how long the other pending wake-ups count, ms, if this claim consumes one (else 0).
-- Returns {'ok', now, batch, its fields, fields of its root, how its lane and the account stand: see packing/lane_history.py};
-- {'paused' | 'stopped' | 'busy' | 'none', now}; or {'probe', now}: the destination is stopped, and this worker asks the
-- platform.
local polls = ARGV[1] == 'poll'
local lease_ms, orphan_ms, most, silence_ms = whole(ARGV[2], 1), whole(ARGV[4], 0), whole(ARGV[5], 0), whole(ARGV[6], 0)
-- Batches that are looked at: many of a lane that has stopped may be due, and each is put aside.
local PAGE, PAGES = 50, 40
-- Of many stopped lanes, so often is one tried before all else, ms; the others are tried when nothing else is due.
local TRIAL_PACE_MS = 1000
-- For so long a batch without all its fields is left alone, ms: it must not keep others from being claimed.
local BROKEN_MS = 60000
check_type('hash', 'state', 'lanes')
check_type('zset', 'claims', unpack(DUE_BATCHES))
local pending = number_in(redis.call('GET', k('wakeup:' .. ARGV[1]))) or 0
local now = steady()

-- Whether all fields that a claim reads or moves are there.
local function is_whole(n)
  local batch = redis.pcall('HMGET', k('batch:' .. n), 'lane', 'root', 'state', 'fence', 'claims_count', 'attempts')
  if not (batch[1] and batch[2] and batch[3]) then return false end
  local requests = redis.pcall('HGET', k('batch:' .. batch[2]), 'requests')
  if type(requests) == 'table' or type(redis.pcall('HGET', k('lane:' .. batch[1]), 'trial')) == 'table' then return false end
  return is_counter(batch[4]) and is_counter(batch[5]) and is_counter(batch[6]) and is_counter(requests)
end

local function claimed(n)
  local name = k('batch:' .. n)
  local lane, root = unpack(redis.call('HMGET', name, 'lane', 'root'))
  local history = redis.call('HMGET', k('lane:' .. lane), 'accepted_at', 'doubt', 'doubts', 'stop_kind')
  for _, value in ipairs(redis.call('HMGET', k('state'), 'doubt', 'doubt_lane', 'doubt_root', 'doubt_at')) do
    history[#history + 1] = value
  end
  history[#history + 1] = tostring(redis.call('HLEN', k('lanes')))
  for at = 1, 9 do history[at] = history[at] or '' end
  return {'ok', now, n, redis.call('HGETALL', name), redis.call('HGETALL', k('batch:' .. root)), history}
end

-- Whether a due batch waits because its lane is paused or stopped; it is put aside then. The trial of a stopped lane
-- does not wait.
local function waits_for_lane(n, lane)
  local found = redis.call('HMGET', k('lane:' .. lane), 'paused', 'stop_code', 'try_at', 'trial')
  if found[1] then
    put_aside(n, lane)
  elseif not found[2] then
    return false
  elseif (number_in(found[3]) or 0) <= now then
    set_trial(n, lane, now)
    redis.call('HSET', k('lane:' .. lane), 'try_at', now + lease_ms)
    return false
  elseif found[4] == n or not has_trial(lane) then
    set_trial(n, lane, found[3])
  elseif is_untried(n) and not is_untried(found[4]) and redis.pcall('HGET', k('batch:' .. found[4]), 'state') == 'ready' then
    put_aside(found[4], lane)
    set_trial(n, lane, found[3])
  else
    put_aside(n, lane)
  end
  return true
end

local zsets = polls and {'due:poll', 'due:poll:low'} or {'due:dispatch', 'due:dispatch:low', TRIAL}
local wakeup = k('wakeup:' .. ARGV[1])
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now) -- runs with full memory, and lets what follows run
if silence_ms > 0 then
  redis.call('DEL', wakeup)
  if pending > 1 then redis.call('SET', wakeup, pending - 1, 'PX', digits(silence_ms)) end
end
-- The same token asked before, and the reply was lost: its claim stands, and ends when its batch is due again.
local lapses = redis.call('ZSCORE', k('claims'), ARGV[3])
if lapses then
  for _, zset in ipairs(zsets) do
    for _, n in ipairs(redis.call('ZRANGEBYSCORE', k(zset), lapses, lapses)) do
      if redis.pcall('HGET', k('batch:' .. n), 'token') == ARGV[3] and is_whole(n) then return claimed(n) end
    end
  end
  return {polls and 'none' or 'probe', now}
end
local state = redis.call('HMGET', k('state'), 'state', 'probe_at', 'slots')
if state[1] == 'paused' and not polls then return {'paused', now} end
if redis.call('ZCARD', k('claims')) >= (number_in(state[3]) or most) then return {'busy', now} end
if state[1] == 'stopped' then
  if polls or (number_in(state[2]) or 0) > now then return {'stopped', now} end
  redis.call('HSET', k('state'), 'probe_at', now + lease_ms)
  redis.call('ZADD', k('claims'), now + lease_ms, ARGV[3])
  return {'probe', now}
end
if not polls and redis.call('ZCOUNT', k(TRIAL), '-inf', now) > 0 then
  if (number_in(redis.call('HGET', k('state'), 'trial_at')) or 0) <= now then
    zsets = {TRIAL, 'due:dispatch', 'due:dispatch:low'}
    redis.call('HSET', k('state'), 'trial_at', now + TRIAL_PACE_MS)
  end
end

local function claim(n, zset)
  local name = k('batch:' .. n)
  local root, state, phase = unpack(redis.call('HMGET', name, 'root', 'state', 'phase'))
  -- A claim that ended while sending may have sent. If that made an import, nobody follows it: an orphan.
  if state == 'sending' then redis.call('HSET', k('batch:' .. root), 'orphan_until', now + orphan_ms) end
  -- A worker that died while the request was out says nothing of the bytes: that counts as an answer.
  if state == 'sending' and phase == 'sent' then redis.call('HINCRBY', name, 'attempts', 1) end
  if phase then redis.call('HDEL', name, 'phase') end
  redis.call('ZADD', k(zset), now + lease_ms, n)
  redis.call('ZADD', k('claims'), now + lease_ms, ARGV[3])
  redis.call('HINCRBY', name, 'fence', 1)
  redis.call('HSET', name, 'token', ARGV[3])
  if not polls then
    redis.call('HINCRBY', name, 'claims_count', 1)
    redis.call('HINCRBY', k('batch:' .. root), 'requests', 1)
    redis.call('HSET', name, 'state', 'sending')
  end
  return claimed(n)
end

for _, zset in ipairs(zsets) do
  for _ = 1, PAGES do
    local due = redis.call('ZRANGEBYSCORE', k(zset), '-inf', now, 'LIMIT', 0, PAGE)
    if #due == 0 then break end
    for _, n in ipairs(due) do
      if not is_whole(n) then
        redis.call('ZADD', k(zset), now + BROKEN_MS, n)
      elseif polls then
        return claim(n, zset)
      elseif not waits_for_lane(n, redis.call('HGET', k('batch:' .. n), 'lane')) then
        return claim(n, redis.call('ZSCORE', k(TRIAL), n) and TRIAL or zset)
      end
    end
  end
end
return {'none', now}
