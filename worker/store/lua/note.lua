-- A reply has come (or the request was not made): settle its permit and learn from its headers.
-- ARGV: permit, configured window ms, 'unused' | 'sent' | 'refused', then what the headers say: limit, remaining,
--       reset ms, block ms (-1: they do not), and the configured limit (0: none).
-- Returns ms for which the endpoint is blocked from now on.
local now, permit = clock(), ARGV[1]
redis.call('ZREM', k('permits'), permit) -- runs with full memory, and lets what follows run
if ARGV[3] == 'unused' then return 0 end
local limit, remaining, reset, block = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local window = tonumber(ARGV[2])
if window == 0 then
  window = tonumber(redis.call('HGET', k('rate'), 'window') or 0)
  -- The longest time to a reset ever seen is the best guess at the window; whole seconds hide up to one more.
  if reset >= 0 and reset + 1000 > window then
    window = reset + 1000
    redis.call('HSET', k('rate'), 'window', window)
  end
end
if limit < 0 then redis.call('HSET', k('rate'), 'silent', 1) else redis.call('HSET', k('rate'), 'limit', limit) end
redis.call('ZADD', k('permits'), now + window, permit)
-- Fewer left than our own permits explain: somebody else uses the account too, so its count is the one to go by.
local inforce = tonumber(ARGV[8])
if limit >= 0 and (inforce == 0 or limit < inforce) then inforce = limit end
if remaining >= 0 and reset >= 0 and inforce > 0 and remaining < inforce - redis.call('ZCARD', k('permits')) then
  redis.call('HSET', k('rate'), 'remaining', remaining, 'reset_at', now + reset)
else
  redis.call('HDEL', k('rate'), 'remaining', 'reset_at')
end
if ARGV[3] == 'refused' then
  local again = redis.call('HINCRBY', k('rate'), 'refusals', 1)
  if block < 0 then block = math.min(60000, 1000 * 2 ^ math.min(again, 6)) end
  redis.call('HSET', k('rate'), 'blocked_until', now + block)
  return block
end
redis.call('HDEL', k('rate'), 'refusals')
return 0
