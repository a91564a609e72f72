-- Forget settled batches and discard failures after their time.
-- ARGV: age of batches, ms; age of failures, ms; most of each to take at a time.
-- Returns {batches forgotten, failures discarded}.
local now, batches, failures = clock(), 0, 0
for _, n in ipairs(redis.call('ZRANGEBYSCORE', k('batches'), '-inf', now - ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local name = k('batch:' .. n)
  local state, root = unpack(redis.call('HMGET', name, 'state', 'root'))
  local parts = root and tonumber(redis.call('HGET', k('batch:' .. root), 'parts') or 0) or 0
  if state == 'done' and (parts == 0 or root ~= n) and redis.call('EXISTS', k('batch:' .. n .. ':digests')) == 0 then
    redis.call('DEL', name)
    redis.call('ZREM', k('batches'), n)
    batches = batches + 1
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k('failures:by_time'), '-inf', now - ARGV[2], 'LIMIT', 0, ARGV[3])) do
  if forget_failure(id) then
    failures = failures + 1
    book(lane_of(id), 'failed', -1, 'discarded', 1)
  end
end
if failures > 0 then redis.call('INCR', k('version')) end
return {batches, failures}
