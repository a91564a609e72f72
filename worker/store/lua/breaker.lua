-- The circuit breaker of an account, as functions for the scripts of the rate limiter: asking and telling it costs no
-- round trip of its own. KEYS[1] is the base of the account.
--
-- closed: requests are sent. Five exchanges in a row failed at one endpoint: it opens.
-- open: nothing is sent at any endpoint until `open_until`.
-- half-open (after `open_until`): one cheap request, the probe, asks. Answered: closed. Failed: open again.
-- One endpoint alone (`until:<endpoint>`): it fails while others are answered. It waits by itself, and is tried again
-- with one request at a time.

-- The failures in a row, at one endpoint, that open the breaker.
local BREAKER_FAILURES = 5
-- The longest waits that are told, ms: a late answer, or a person, may close the breaker early.
local BREAKER_WAIT_MS, PROBE_WAIT_MS = 5000, 500

-- May a request be sent? `is_probe`: it is a cheap one that may ask.
-- Returns {go = true, probes = it is the probe, blocked_until = of this endpoint alone, careful = one at a time}, or
-- {wait = ms}, or {ask_first = true}: send a cheap request first.
local function breaker_ask(endpoint, now, is_probe)
  local found = redis.call('HMGET', k('breaker'), 'open_until', 'probe', 'probe_until', 'until:' .. endpoint)
  local open_until = number_in(found[1])
  if not open_until then return {go = true, blocked_until = number_in(found[4]) or 0, careful = found[4]} end
  local left = open_until - now
  if left > 0 then return {wait = math.ceil(math.min(left, BREAKER_WAIT_MS))} end
  left = (number_in(found[3]) or 0) - now
  if found[2] and left > 0 then return {wait = math.ceil(math.min(left, PROBE_WAIT_MS))} end
  if not is_probe then return {ask_first = true} end
  return {go = true, probes = true, blocked_until = 0, careful = found[4]}
end

-- This permit asks for everybody, until its lease ends.
local function breaker_probe(permit, until_ms)
  redis.call('HSET', k('breaker'), 'probe', permit, 'probe_until', until_ms)
end

-- The permit was given back, or its reply is here. Returns whether it was the probe.
local function breaker_end_probe(permit)
  if redis.call('HGET', k('breaker'), 'probe') ~= permit then return false end
  redis.call('HDEL', k('breaker'), 'probe', 'probe_until')
  return true
end

local function breaker_open(now, breaker_ms)
  if not redis.call('HGET', k('breaker'), 'open_until') then
    redis.call('DEL', k('outage'))
    redis.call('HSET', k('outage'), 'began', now)
  end
  redis.call('HSET', k('breaker'), 'open_until', now + breaker_ms)
end

-- An exchange failed. `probed`: it was the probe. `first`: this report is no repeat.
local function breaker_failed(endpoint, now, breaker_ms, probed, first)
  if probed then return breaker_open(now, breaker_ms) end
  if not first then return end
  local times = redis.call('HINCRBY', k('breaker'), 'failed:' .. endpoint, 1)
  if times < BREAKER_FAILURES then return end
  if times == BREAKER_FAILURES then
    redis.call('HSET', k('breaker'), 'until:' .. endpoint, now)
    breaker_open(now, breaker_ms)
  elseif not redis.call('HGET', k('breaker'), 'open_until') then
    -- The breaker was closed since: others are answered, this endpoint is not.
    redis.call('HSET', k('breaker'), 'until:' .. endpoint, now + breaker_ms)
  end
end

-- An exchange was answered. The answer to a probe says nothing of the endpoint that failed.
local function breaker_answered(endpoint, now, probed, first)
  if redis.call('HDEL', k('breaker'), 'open_until') == 1 then
    redis.call('HDEL', k('breaker'), 'probe', 'probe_until')
    redis.call('HSET', k('outage'), 'ended', now)
  end
  if first and not probed then redis.call('HDEL', k('breaker'), 'failed:' .. endpoint, 'until:' .. endpoint) end
end
