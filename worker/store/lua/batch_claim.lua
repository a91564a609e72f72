-- Claim the next due batch for a lease.
-- ARGV: stage (dispatch or poll), lease ms, claim token, orphan wait ms, exchanges at once where no worker has said how
--       many, and for how long the other pending wake-ups count, ms, if this claim consumes one (else 0).
-- Returns {'ok', now, batch, its fields, fields of its root, how its lane and the account stand: see packing/lane_history.py};
-- {'paused' | 'stopped' | 'busy' | 'none', now}; or {'probe', now}: the destination is stopped, and this worker asks the
-- platform.
local now, polls = steady(), ARGV[1] == 'poll'
-- Batches that are looked at: many of a lane that has stopped may be due, and each is put aside.
local PAGE, PAGES = 50, 40
-- Of many stopped lanes, so often is one tried before all else, ms; the others are tried when nothing else is due.
local TRIAL_PACE_MS = 1000

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
  elseif tonumber(found[3]) <= now then
    set_trial(n, lane, now)
    redis.call('HSET', k('lane:' .. lane), 'try_at', now + ARGV[2])
    return false
  elseif found[4] == n or not has_trial(lane) then
    set_trial(n, lane, found[3])
  elseif is_untried(n) and not is_untried(found[4]) and redis.call('HGET', k('batch:' .. found[4]), 'state') == 'ready' then
    put_aside(found[4], lane)
    set_trial(n, lane, found[3])
  else
    put_aside(n, lane)
  end
  return true
end

local zsets = polls and {'due:poll', 'due:poll:low'} or {'due:dispatch', 'due:dispatch:low', TRIAL}
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
if not polls and redis.call('ZCOUNT', k(TRIAL), '-inf', now) > 0 then
  if tonumber(redis.call('HGET', k('state'), 'trial_at') or 0) <= now then
    zsets = {TRIAL, 'due:dispatch', 'due:dispatch:low'}
    redis.call('HSET', k('state'), 'trial_at', now + TRIAL_PACE_MS)
  end
end

local function claim(n, zset)
  local name = k('batch:' .. n)
  local root, state, phase = unpack(redis.call('HMGET', name, 'root', 'state', 'phase'))
  -- A claim that ended while sending may have sent. If that made an import, nobody follows it: an orphan.
  if state == 'sending' then redis.call('HSET', k('batch:' .. root), 'orphan_until', now + ARGV[4]) end
  -- A worker that died while the request was out says nothing of the bytes: that counts as an answer.
  if state == 'sending' and phase == 'sent' then redis.call('HINCRBY', name, 'attempts', 1) end
  if phase then redis.call('HDEL', name, 'phase') end
  redis.call('ZADD', k(zset), now + ARGV[2], n)
  redis.call('ZADD', k('claims'), now + ARGV[2], ARGV[3])
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
      if polls then return claim(n, zset) end
      local lane = redis.call('HGET', k('batch:' .. n), 'lane')
      if not waits_for_lane(n, lane) then
        return claim(n, redis.call('ZSCORE', k(TRIAL), n) and TRIAL or zset)
      end
    end
  end
end
return {'none', now}
