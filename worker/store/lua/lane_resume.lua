-- A person lets lanes go on. ARGV: 'paused' to end pauses too, or 'stopped' to end stops only; then the lanes.
-- Returns 1.
for at = 2, #ARGV do check_lane_stop(ARGV[at]) end
local now = steady()
redis.call('DEL', k('wakeup:dispatch')) -- runs with full memory, and lets what follows run
for at = 2, #ARGV do
  local lane = ARGV[at]
  local name = k('lane:' .. lane)
  redis.call('DEL', k('wakeup:aggregate:' .. lane))
  redis.call('HDEL', name, 'doubt', 'doubts')
  if ARGV[1] == 'paused' then redis.call('HDEL', name, 'paused') end
  if redis.call('HGET', name, 'paused') then
    -- The pause lasts, so the batches stay aside.
    redis.call('HDEL', name, 'stop_code', 'stop_why', 'stop_kind', 'try_gap', 'try_at', 'trial', 'trials')
  else
    release_lane(lane, now)
  end
end
return 1
