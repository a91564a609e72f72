-- Append records to a lane, once for each call id.
-- ARGV: call id, its ttl ms, lane, options JSON, max lane bytes, max wait ms, full-body count, full-body bytes,
--       bytes of the records, record...
-- Returns {what, first, count}: 'ok', 'again' (this call was counted before), 'lane' or 'memory' (no room).
local seen = redis.call('GET', k('call:' .. ARGV[1]))
if seen then
  book(ARGV[3], 'repeated', 1)
  local first, count = string.match(seen, '^(%d+):(%d+)$')
  return {'again', tonumber(first), tonumber(count)}
end
if redis.call('EXISTS', k('full')) == 1 then return {'memory', 0, 0} end
local lane, now = ARGV[3], clock()
local state = redis.call('HMGET', k('lane:' .. lane), 'head', 'bytes')
local head, bytes = tonumber(state[1] or 0), tonumber(state[2] or 0)
if bytes + ARGV[9] > tonumber(ARGV[5]) then return {'lane', 0, 0} end
local before, count = redis.call('LLEN', k('wait:' .. lane)), #ARGV - 9
local first = head + before
redis.call('SET', k('call:' .. ARGV[1]), string.format('%d:%d', first, count), 'PX', ARGV[2])
for from = 10, #ARGV, 4000 do
  redis.call('RPUSH', k('wait:' .. lane), unpack(ARGV, from, math.min(from + 3999, #ARGV)))
end
redis.call('HINCRBY', k('lane:' .. lane), 'bytes', ARGV[9])
redis.call('HSET', k('lane:' .. lane), 'max_wait', ARGV[6])
redis.call('HSETNX', k('lanes'), lane, ARGV[4])
book(lane, 'accepted', count, 'waiting', count)
local mark = redis.call('LINDEX', k('marks:' .. lane), -1)
if not mark or now - tonumber(string.match(mark, ':(%d+)$')) >= 1000 then
  redis.call('RPUSH', k('marks:' .. lane), string.format('%d:%d', first, now))
end
local full = before + count >= tonumber(ARGV[7]) or bytes + ARGV[9] >= tonumber(ARGV[8])
redis.call('ZADD', k('aggdue'), 'LT', full and now or now + ARGV[6], lane)
return {'ok', first, count}
