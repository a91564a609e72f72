-- Ask for a permit to send one request. KEYS[1] is the base of the account.
-- ARGV: permit, endpoint, configured limit (0: none), configured window ms (0: none), lease ms, 'asks' if the request is
--       a cheap one that may be the breaker's probe.
-- Returns {1, 0}: granted; {0, ms to wait}; or {2, 0}: send a cheap request first. A permit is held until one window
-- after its reply (see limiter_report.lua). So the platform's own count is never above the limit, wherever its windows
-- begin.
local permit, endpoint = ARGV[1], ARGV[2]
local limit, window, lease_ms = whole(ARGV[3], 0), whole(ARGV[4], 0), whole(ARGV[5], 0)
check_type('zset', 'permits:' .. endpoint)
check_type('hash', 'breaker')
check_fields('rate:' .. endpoint, 'remaining')
local now, permits, rate = steady(), k('permits:' .. endpoint), k('rate:' .. endpoint)
if redis.call('ZSCORE', permits, permit) then return {1, 0} end -- granted before, and the reply lost
local breaker = breaker_ask(endpoint, now, ARGV[6] == 'asks')
if breaker.wait then return {0, breaker.wait} end
if breaker.ask_first then return {2, 0} end
local state = redis.call('HMGET', rate, 'limit', 'remaining', 'reset_at', 'blocked_until', 'silent')
local blocked = math.max(number_in(state[4]) or 0, breaker.blocked_until)
if blocked > now then return {0, math.ceil(blocked - now)} end
redis.call('ZREMRANGEBYSCORE', permits, '-inf', now)
local held = redis.call('ZCARD', permits)
local told = number_in(state[1])
if limit == 0 or (told and told < limit) then limit = told or 0 end
-- Nothing is known before the first reply: one request goes first and learns. So it does where the last ones failed.
if (limit == 0 and not state[5]) or breaker.careful then limit = 1 end
if limit > 0 and held >= limit then
  local first = redis.call('ZRANGE', permits, 0, 0, 'WITHSCORES')
  return {0, math.max(1, math.min(500, math.ceil(first[2] - now)))}
end
local reset = number_in(state[3]) or 0
if reset > now and state[2] then
  if tonumber(state[2]) <= 0 then return {0, math.ceil(reset - now)} end
  redis.call('HINCRBY', rate, 'remaining', -1)
end
if window == 0 then window = number_in(redis.call('HGET', rate, 'window')) or 0 end
-- Until it is reported, the request can have been made at any time before its lease ends.
redis.call('ZADD', permits, now + lease_ms + window, permit)
if breaker.probes then breaker_probe(permit, now + lease_ms) end
return {1, 0}
