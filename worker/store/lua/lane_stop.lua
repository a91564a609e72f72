-- Lanes that the platform stopped or a person paused, as functions for the scripts that claim, settle and resume.
--
-- The batches of such a lane lie in `due:dispatch:stopped`, with a number made of the lane's name as score: they stand in nobody's
-- way. Of a stopped lane one batch, the trial, lies in `due:dispatch:trial` and is sent at `try_at`. What it meets
-- decides: accepted, and the lane goes on; refused again, and the gap to the next trial doubles.
local STOPPED, TRIAL = 'due:dispatch:stopped', 'due:dispatch:trial'

-- What the functions below write. Batches are read and written with pcall: one that is broken is no batch to try.
local function check_lane_stop(lane)
  check_fields('lane:' .. lane, 'doubts')
  check_type('hash', 'state')
  check_type('zset', 'due:aggregate', 'due:dispatch', 'due:dispatch:low', STOPPED, TRIAL)
end

-- The score of the lane's batches in `due:dispatch:stopped`, below 2 to the power of 44. Python has the same in
-- schedule.py.
local function lane_score(lane)
  local score = 0
  for at = 1, #lane do score = (score * 257 + string.byte(lane, at)) % 17592186044399 end
  return digits(score)
end

-- Put a batch aside, out of the way of other lanes.
local function put_aside(n, lane)
  for _, zset in ipairs({'due:dispatch', 'due:dispatch:low', TRIAL}) do redis.call('ZREM', k(zset), n) end
  redis.call('ZADD', k(STOPPED), lane_score(lane), n)
end

-- Make this batch the lane's trial, due at a moment.
local function set_trial(n, lane, at)
  for _, zset in ipairs({'due:dispatch', 'due:dispatch:low', STOPPED}) do redis.call('ZREM', k(zset), n) end
  redis.call('ZADD', k(TRIAL), at, n)
  redis.call('HSET', k('lane:' .. lane), 'trial', n)
end

-- Whether the lane has a trial that waits or is under way.
local function has_trial(lane)
  local n = redis.call('HGET', k('lane:' .. lane), 'trial')
  return n and redis.call('ZSCORE', k(TRIAL), n) and true or false
end

-- Whether no row of the batch was refused so far.
local function is_untried(n)
  local at = redis.pcall('HGET', k('batch:' .. n), 'accused_ms')
  return not at or at == '0'
end

-- Choose the next trial among the batches put aside: those first of which nothing was refused so far, the newest first,
-- and one after the other: other records are tried than those that were refused.
local function choose_trial(lane, at, trials)
  local score, untried = lane_score(lane), {}
  local found = redis.call('ZRANGEBYSCORE', k(STOPPED), score, score)
  for _, n in ipairs(found) do
    if is_untried(n) then untried[#untried + 1] = n end
  end
  if #untried > 0 then found = untried end
  if #found == 0 then return end
  table.sort(found, function(a, b) return (number_in(a) or 0) < (number_in(b) or 0) end)
  set_trial(found[#found - trials % #found], lane, at)
end

-- Stop the lane, or stop it for longer. `stop`: {code, why, kind, first_ms, last_ms}.
local function stop_lane(n, lane, stop, now)
  local name = k('lane:' .. lane)
  local old = redis.call('HMGET', name, 'stop_code', 'try_gap', 'trial', 'trials')
  put_aside(n, lane)
  local trials = number_in(old[4]) or 0
  if old[1] and old[3] ~= n and has_trial(lane) then return end -- one of several refused at the same moment
  local gap = old[1] and math.min((number_in(old[2]) or stop.first_ms) * 2, stop.last_ms) or stop.first_ms
  redis.call('HSET', name, 'stop_code', stop.code, 'stop_why', stop.why, 'stop_kind', stop.kind, 'try_gap', gap,
    'try_at', now + gap, 'trials', trials + 1)
  choose_trial(lane, now + gap, trials)
end

-- The lane goes on: its batches are due at once, and the time of the stop does not count as time of trying.
local function release_lane(lane, now)
  local name, score = k('lane:' .. lane), lane_score(lane)
  local batches = redis.call('ZRANGEBYSCORE', k(STOPPED), score, score)
  local trial = redis.call('HGET', name, 'trial')
  local due = trial and redis.call('ZSCORE', k(TRIAL), trial)
  if due and redis.pcall('HGET', k('batch:' .. trial), 'state') ~= 'sending' then batches[#batches + 1] = trial end
  redis.call('HDEL', name, 'stop_code', 'stop_why', 'stop_kind', 'try_gap', 'try_at', 'trial', 'trials')
  for _, n in ipairs(batches) do
    redis.call('ZREM', k(STOPPED), n)
    redis.call('ZREM', k(TRIAL), n)
    local low = redis.pcall('HGET', k('batch:' .. n), 'low_priority') == '1'
    redis.pcall('HSET', k('batch:' .. n), 'first_ms', 0)
    redis.call('ZADD', k(low and 'due:dispatch:low' or 'due:dispatch'), now, n)
  end
  redis.call('ZADD', k('due:aggregate'), 'LT', now, lane)
end

-- Something of the lane was accepted: whatever was suspected of the lane or of the account is over.
local function lane_accepted(lane, now)
  local name = k('lane:' .. lane)
  redis.call('HSET', name, 'accepted_at', now)
  redis.call('HDEL', name, 'doubt', 'doubts')
  redis.call('HDEL', k('state'), 'doubt', 'doubt_lane', 'doubt_root', 'doubt_at', 'probe_gap')
  if redis.call('HGET', name, 'stop_code') then release_lane(lane, now) end
end

-- The trial of a stopped lane has ended, and proved nothing: another batch is tried in its place.
local function go_on_trying(lane, now)
  local found = redis.call('HMGET', k('lane:' .. lane), 'stop_code', 'try_gap', 'trials')
  if not found[1] then return end
  local at = now + (number_in(found[2]) or 0)
  redis.call('HSET', k('lane:' .. lane), 'try_at', at)
  choose_trial(lane, at, number_in(found[3]) or 0)
end

-- One more row was refused alone. `doubt` is the likeness of the refusal: others that are unlike count from one again.
local function note_doubt(lane, doubt)
  local name = k('lane:' .. lane)
  if redis.call('HGET', name, 'doubt') == doubt then
    redis.call('HINCRBY', name, 'doubts', 1)
  else
    redis.call('HSET', name, 'doubt', doubt, 'doubts', 1)
  end
end

-- A body was refused in words that concern the account, although the account works. The first one is remembered.
local function note_account_doubt(lane, root, doubt, now)
  local found = redis.call('HMGET', k('state'), 'doubt', 'doubt_root')
  if found[1] == doubt and found[2] ~= root then return end
  redis.call('HSET', k('state'), 'doubt', doubt, 'doubt_lane', lane, 'doubt_root', root, 'doubt_at', now)
end
