-- Put failed records back in front of their lane. ARGV: lane, then id, entry (oldest first).
-- Returns how many were still failed.
local lane, moved = ARGV[1], {}
redis.call('DEL', k('bell:aggregate:' .. lane))
for at = 2, #ARGV, 2 do
  if forget_failure(ARGV[at]) then moved[#moved + 1] = ARGV[at + 1] end
end
if #moved > 0 then
  each('RPUSH', k('again:' .. lane), moved)
  book(lane, 'failed', -#moved, 'held', #moved)
  local now = clock()
  redis.call('HSET', k('lane:' .. lane), 'held_at', 0)
  redis.call('ZADD', k('aggdue'), 'LT', now, lane)
  redis.call('INCR', k('v'))
end
return #moved
