-- Ask for one exchange that concerns no batch.
-- ARGV: lease ms, claim token, exchanges at once where no worker has said how many.
-- Returns 1 if it may be made, 0 if the destination has enough exchanges under way.
local now = clock()
if redis.call('ZSCORE', k('claims'), ARGV[2]) then return 1 end -- granted before, and the reply lost
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now)
if redis.call('ZCARD', k('claims')) >= tonumber(redis.call('HGET', k('state'), 'slots') or ARGV[3]) then return 0 end
redis.call('ZADD', k('claims'), now + ARGV[1], ARGV[2])
return 1
