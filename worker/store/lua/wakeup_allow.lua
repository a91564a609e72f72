-- May one more bell be rung? ARGV: what, how long unheard ones count, ms, and how many of them there may be where the
-- workers have not said how many they are. Returns 1 or 0. Bells that nobody needs would lie in front of others.
local name, slots = k('wakeup:' .. ARGV[1]), redis.call('HGET', k('state'), 'slots')
local unheard = tonumber(redis.call('GET', name) or 0)
if unheard >= tonumber(slots or ARGV[3]) then return 0 end
redis.call('DEL', name) -- runs with full memory, and lets what follows run
redis.call('SET', name, unheard + 1, 'PX', ARGV[2])
return 1
