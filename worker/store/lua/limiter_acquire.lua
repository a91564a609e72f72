-- Ask for a permit to send one request. KEYS[1] is the base of the account.
-- ARGV: permit, endpoint, configured limit (0: none), configured window ms (0: none), lease ms, 'asks' if the request is
--       a cheap one that may find out whether a silent platform answers again.
-- Returns {1, 0}; {0, ms to wait}; or {2, 0}: ask first. A permit is held until one window after its reply (see
-- note.lua), so the platform's own count, wherever it begins, is never above the limit.
local now, permit, endpoint = steady(), ARGV[1], ARGV[2]
local permits, rate, asks = k('permits:' .. endpoint), k('rate:' .. endpoint), false
if redis.call('ZSCORE', permits, permit) then return {1, 0} end -- granted before, and the reply lost
local breaker = redis.call('HMGET', k('breaker'), 'open_until', 'probe', 'probe_until', 'until:' .. endpoint,
  'failed:' .. endpoint)
if breaker[1] then
  -- Open: nobody sends. Then half-open: one request asks, and all others wait for what it hears. Never a long wait: it
  -- may be closed early, by an answer that comes late or by a person.
  local left = breaker[1] - now
  if left > 0 then return {0, math.ceil(math.min(left, 5000))} end
  left = tonumber(breaker[3] or 0) - now
  if breaker[2] and left > 0 then return {0, math.ceil(math.min(left, 500))} end
  if ARGV[6] ~= 'asks' then return {2, 0} end
  asks = true
end
local state = redis.call('HMGET', rate, 'limit', 'remaining', 'reset_at', 'blocked_until', 'silent')
local blocked = math.max(tonumber(state[4] or 0), not asks and tonumber(breaker[4] or 0) or 0)
if blocked > now then return {0, math.ceil(blocked - now)} end
redis.call('ZREMRANGEBYSCORE', permits, '-inf', now)
local held = redis.call('ZCARD', permits)
local limit = tonumber(ARGV[3])
if limit == 0 or (state[1] and tonumber(state[1]) < limit) then limit = tonumber(state[1] or 0) end
-- Nothing is known before the first reply: one request goes ahead and learns. So it does where the last ones failed.
if (limit == 0 and not state[5]) or breaker[4] then limit = 1 end
if limit > 0 and held >= limit then
  local first = redis.call('ZRANGE', permits, 0, 0, 'WITHSCORES')
  return {0, math.max(1, math.min(500, math.ceil(first[2] - now)))}
end
local reset = tonumber(state[3] or 0)
if reset > now and state[2] then
  if tonumber(state[2]) <= 0 then return {0, math.ceil(reset - now)} end
  redis.call('HINCRBY', rate, 'remaining', -1)
end
local window = tonumber(ARGV[4])
if window == 0 then window = tonumber(redis.call('HGET', rate, 'window') or 0) end
-- Nobody may come back to settle it: the request can still have been made until the lease ends.
redis.call('ZADD', permits, now + ARGV[5] + window, permit)
if asks then redis.call('HSET', k('breaker'), 'probe', permit, 'probe_until', now + ARGV[5]) end
return {1, 0}
