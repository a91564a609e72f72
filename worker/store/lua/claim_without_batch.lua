-- Ask for one exchange that concerns no batch.
-- ARGV: lease ms, claim token, exchanges at once where no worker has said how many.
-- Returns 1 if it may be made, 0 if the destination has enough exchanges under way.
local lease_ms, most = whole(ARGV[1], 0), whole(ARGV[3], 0)
check_type('zset', 'claims')
local now = clock()
if redis.call('ZSCORE', k('claims'), ARGV[2]) then return 1 end -- granted before, and the reply lost
local slots = number_in(redis.call('HGET', k('state'), 'slots')) or most
redis.call('ZREMRANGEBYSCORE', k('claims'), '-inf', now)
if redis.call('ZCARD', k('claims')) >= slots then return 0 end
redis.call('ZADD', k('claims'), now + lease_ms, ARGV[2])
return 1
