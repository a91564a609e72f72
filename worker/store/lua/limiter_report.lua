-- An exchange has ended: settle its permit, learn from the headers of the reply, tell the breaker of the account.
-- KEYS[1] is the base of the account.
-- ARGV: permit, endpoint, result, breaker ms, configured limit (0: none), configured window ms (0: none), then what the
--       headers say: limit, remaining, reset ms, block ms (-1: they say nothing of it).
-- Results: 'unused' (nothing was sent, for a reason of our own; the arguments after it are missing), 'unsent' (the
-- platform could not be reached), 'failed' (no readable reply, or one that says the platform is in trouble), 'refused'
-- (by its rate limit), 'answered'.
-- Returns ms for which the endpoint is blocked from now on.

-- A number that the platform has said, as far as it is kept: 30 years in ms.
local function told(value) return whole(math.min(math.floor(tonumber(value) or -1), 1e12), -1) end

local permit, endpoint, result, breaker_ms = ARGV[1], ARGV[2], ARGV[3], whole(ARGV[4], 0)
local inforce, window, limit, remaining, reset, block = 0, 0, -1, -1, -1, -1
if result ~= 'unused' then
  inforce, window, limit, remaining = whole(ARGV[5], 0), whole(ARGV[6], 0), told(ARGV[7]), told(ARGV[8])
  reset, block = told(ARGV[9]), told(ARGV[10])
end
check_type('zset', 'permits:' .. endpoint)
check_type('hash', 'outage')
check_fields('breaker', 'failed:' .. endpoint)
check_fields('rate:' .. endpoint, 'refusals')
local now, permits, rate = steady(), k('permits:' .. endpoint), k('rate:' .. endpoint)
-- Runs with full memory, and lets what follows run. A settled permit is kept under another name: a repeat of this very
-- call, its reply lost, counts nothing twice.
local first = redis.call('ZREM', permits, permit) == 1
local probed = breaker_end_probe(permit)
if result == 'unused' then return 0 end
if result == 'failed' or result == 'unsent' then
  breaker_failed(endpoint, now, breaker_ms, probed, first)
else
  breaker_answered(endpoint, now, probed, first)
end
if result == 'unsent' then return 0 end

local seen = redis.call('HMGET', rate, 'window', 'window_next', 'window_at', 'doubtful')
-- A reset of over two minutes, far beyond the window in force, may be an absurd header. It counts once the next reply
-- says about the same.
if reset > math.max(120000, 2 * math.max(window, number_in(seen[1]) or 0)) then
  local before = number_in(seen[4]) or 0
  redis.call('HSET', rate, 'doubtful', reset)
  if before < reset / 2 or before > reset * 2 then reset, remaining = -1, -1 end
else
  redis.call('HDEL', rate, 'doubtful')
end
if window == 0 then
  window = number_in(seen[1]) or 0
  -- The longest time to a reset is the best guess at the window. Platforms tell it in whole seconds, so it may be up to
  -- one longer. A guess that an hour of replies has not confirmed is forgotten: one absurd header must not slow an
  -- account down for good.
  if reset >= 0 then
    local longest, at = math.max(reset + 1000, number_in(seen[2]) or 0), number_in(seen[3]) or now
    window = math.max(window, longest)
    if now - at > 3600000 then window, longest, at = longest, 0, now end
    redis.call('HSET', rate, 'window', window, 'window_next', longest, 'window_at', at)
  end
end
if limit >= 0 then
  redis.call('HSET', rate, 'limit', limit)
elseif result ~= 'failed' then
  redis.call('HSET', rate, 'silent', 1)
end
redis.call('ZADD', permits, now + window, permit .. ':settled')
-- Fewer are left than our own permits explain: somebody else uses the account too. Then the platform's count is used.
if limit >= 0 and (inforce == 0 or limit < inforce) then inforce = limit end
if remaining >= 0 and reset >= 0 and inforce > 0 and remaining < inforce - redis.call('ZCARD', permits) then
  redis.call('HSET', rate, 'remaining', remaining, 'reset_at', now + reset)
else
  redis.call('HDEL', rate, 'remaining', 'reset_at')
end
if result == 'refused' then
  local again = redis.call('HINCRBY', rate, 'refusals', first and 1 or 0)
  if block < 0 then block = math.min(60000, 1000 * 2 ^ math.min(again, 6)) end
  redis.call('HSET', rate, 'blocked_until', now + block)
  return block
end
if result == 'answered' then redis.call('HDEL', rate, 'refusals') end
return 0
