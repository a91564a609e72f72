-- May one more wake-up be sent? Wake-ups that no worker needs would lie in front of others in the broker.
-- ARGV: stage; how long a pending wake-up counts, ms; most pending ones where no worker has said how many exchanges the
--       destination may have at once.
-- Returns 1, and counts it, or 0.
local silence_ms, most, name = digits(whole(ARGV[2], 1)), whole(ARGV[3], 0), k('wakeup:' .. ARGV[1])
local slots = number_in(redis.call('HGET', k('state'), 'slots')) or most
local pending = number_in(redis.call('GET', name)) or 0
if pending >= slots then return 0 end
redis.call('DEL', name) -- runs with full memory, and lets what follows run
redis.call('SET', name, pending + 1, 'PX', silence_ms)
return 1
