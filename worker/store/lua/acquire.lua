-- Ask for a permit to send one request. KEYS[1] is the base of (account, endpoint).
-- ARGV: permit, configured limit (0: none), configured window ms (0: none), lease ms.
-- Returns {1, 0}, or {0, ms to wait}. A permit is held until one window after its reply (see note.lua), so the
-- platform's own count, wherever it begins, is never above the limit.
local now = clock()
if redis.call('ZSCORE', k('permits'), ARGV[1]) then return {1, 0} end -- granted before, and the reply lost
local state = redis.call('HMGET', k('rate'), 'limit', 'remaining', 'reset_at', 'blocked_until', 'silent')
local blocked = tonumber(state[4] or 0)
if blocked > now then return {0, math.ceil(blocked - now)} end
redis.call('ZREMRANGEBYSCORE', k('permits'), '-inf', now)
local held = redis.call('ZCARD', k('permits'))
local limit = tonumber(ARGV[2])
if limit == 0 or (state[1] and tonumber(state[1]) < limit) then limit = tonumber(state[1] or 0) end
-- Nothing is known before the first reply: one request goes ahead and learns.
if limit == 0 and not state[5] then limit = 1 end
if limit > 0 and held >= limit then
  local first = redis.call('ZRANGE', k('permits'), 0, 0, 'WITHSCORES')
  return {0, math.max(1, math.min(500, math.ceil(first[2] - now)))}
end
local reset = tonumber(state[3] or 0)
if reset > now and state[2] then
  if tonumber(state[2]) <= 0 then return {0, math.ceil(reset - now)} end
  redis.call('HINCRBY', k('rate'), 'remaining', -1)
end
local window = tonumber(ARGV[3])
if window == 0 then window = tonumber(redis.call('HGET', k('rate'), 'window') or 0) end
-- Nobody may come back to settle it: the request can still have been made until the lease ends.
redis.call('ZADD', k('permits'), now + ARGV[4] + window, ARGV[1])
return {1, 0}
