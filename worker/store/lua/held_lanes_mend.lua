-- Put lanes into `held_lanes` that lack there, and take out those that do not belong there. Releases of this schema before
-- `held_lanes` did not keep it. Looks at a part of the lanes.
-- ARGV: cursor (0: from the beginning), about how many lanes to look at.
-- Returns {the next cursor, 0 at the end; how many were wrong}.
local cursor, count = digits(whole(ARGV[1], 0)), digits(whole(ARGV[2], 1))
check_type('hash', 'lanes')
check_type('zset', 'held_lanes')
check_counters('version')
local version, wrong = number_in(redis.call('GET', k('version'))) or 0, 0
local found = redis.call('HSCAN', k('lanes'), cursor, 'COUNT', count)
redis.call('DEL', k('wakeup:none')) -- runs with full memory, and lets what follows run
for at = 1, #found[2], 2 do
  local lane = found[2][at]
  local listed = number_in(redis.call('ZSCORE', k('held_lanes'), lane))
  if redis.call('EXISTS', k('held:' .. lane), k('retry:' .. lane)) == 0 then
    wrong = wrong + redis.call('ZREM', k('held_lanes'), lane)
  elseif not listed or listed > version then
    -- As if something was held in it before all else: it becomes due when contacts are released, or were ever.
    redis.call('ZADD', k('held_lanes'), 0, lane)
    wrong = wrong + 1
  end
end
return {found[1], wrong}
