-- May one more wake-up be sent? Wake-ups that no worker needs would lie in front of others in the broker.
-- ARGV: stage; how long a pending wake-up counts, ms; most pending ones where no worker has said how many exchanges the
--       destination may have at once.
-- Returns 1, and counts it, or 0.
local name, slots = k('wakeup:' .. ARGV[1]), redis.call('HGET', k('state'), 'slots')
local pending = tonumber(redis.call('GET', name) or 0)
if pending >= tonumber(slots or ARGV[3]) then return 0 end
redis.call('DEL', name) -- runs with full memory, and lets what follows run
redis.call('SET', name, pending + 1, 'PX', ARGV[2])
return 1
