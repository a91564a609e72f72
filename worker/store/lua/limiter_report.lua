-- An exchange has ended: settle its permit, learn from the headers of the reply, open or close the account's breaker.
-- ARGV: permit, endpoint, how it ended, breaker ms, configured limit (0: none), configured window ms, then what the
--       headers say: limit, remaining, reset ms, block ms (-1: they do not).
-- It ended 'unused' (nothing was sent, by our own doing), 'unsent' (the platform could not be reached), 'failed' (no
-- readable reply, or one that says the platform is in trouble), 'refused' (by its rate limit) or 'answered'.
-- Returns ms for which the endpoint is blocked from now on.
local now, permit, endpoint, how, breaker_ms = steady(), ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local permits, rate, breaker = k('permits:' .. endpoint), k('rate:' .. endpoint), k('breaker')
-- The failures in a row, at one endpoint, that open the breaker of the account.
local most = 5
-- Runs with full memory, and lets what follows run. A settled permit is kept under another name: a repeat of this very
-- call, its reply lost, counts nothing twice.
local first = redis.call('ZREM', permits, permit) == 1
local asked = redis.call('HGET', breaker, 'probe') == permit
if asked then redis.call('HDEL', breaker, 'probe', 'probe_until') end -- given back, or answered
if how == 'unused' then return 0 end

local function open()
  if not redis.call('HGET', breaker, 'open_until') then
    redis.call('DEL', k('outage'))
    redis.call('HSET', k('outage'), 'began', now)
  end
  redis.call('HSET', breaker, 'open_until', now + breaker_ms)
end
local function failed()
  if asked then return open() end
  if not first then return end
  local times = redis.call('HINCRBY', breaker, 'failed:' .. endpoint, 1)
  if times < most then return end
  if times == most then
    redis.call('HSET', breaker, 'until:' .. endpoint, now)
    open()
  elseif not redis.call('HGET', breaker, 'open_until') then
    -- Others are answered, this endpoint is not: it alone waits, and is tried again with one request at a time.
    redis.call('HSET', breaker, 'until:' .. endpoint, now + breaker_ms)
  end
end
local function answered()
  if redis.call('HDEL', breaker, 'open_until') == 1 then
    redis.call('HDEL', breaker, 'probe', 'probe_until')
    redis.call('HSET', k('outage'), 'ended', now)
  end
  -- What a cheap request hears says nothing of the endpoint that failed.
  if first and not asked then redis.call('HDEL', breaker, 'failed:' .. endpoint, 'until:' .. endpoint) end
end
if how == 'failed' or how == 'unsent' then failed() else answered() end
if how == 'unsent' then return 0 end

local limit, remaining, reset, block = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local window = tonumber(ARGV[6])
if window == 0 then
  local seen = redis.call('HMGET', rate, 'window', 'window_next', 'window_at')
  window = tonumber(seen[1] or 0)
  -- The longest time to a reset is the best guess at the window; whole seconds hide up to one more. What an hour of
  -- replies has not borne out is forgotten: one absurd header must not slow an account down for good.
  if reset >= 0 then
    local longest, at = math.max(reset + 1000, tonumber(seen[2] or 0)), tonumber(seen[3] or now)
    window = math.max(window, longest)
    if now - at > 3600000 then window, longest, at = longest, 0, now end
    redis.call('HSET', rate, 'window', window, 'window_next', longest, 'window_at', at)
  end
end
if limit >= 0 then
  redis.call('HSET', rate, 'limit', limit)
elseif how ~= 'failed' then
  redis.call('HSET', rate, 'silent', 1)
end
redis.call('ZADD', permits, now + window, permit .. ':settled')
-- Fewer left than our own permits explain: somebody else uses the account too, so its count is the one to go by.
local inforce = tonumber(ARGV[5])
if limit >= 0 and (inforce == 0 or limit < inforce) then inforce = limit end
if remaining >= 0 and reset >= 0 and inforce > 0 and remaining < inforce - redis.call('ZCARD', permits) then
  redis.call('HSET', rate, 'remaining', remaining, 'reset_at', now + reset)
else
  redis.call('HDEL', rate, 'remaining', 'reset_at')
end
if how == 'refused' then
  local again = redis.call('HINCRBY', rate, 'refusals', first and 1 or 0)
  if block < 0 then block = math.min(60000, 1000 * 2 ^ math.min(again, 6)) end
  redis.call('HSET', rate, 'blocked_until', now + block)
  return block
end
if how == 'answered' then redis.call('HDEL', rate, 'refusals') end
return 0
