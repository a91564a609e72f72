-- Forget settled batches and discard failures after their time.
-- ARGV: age of batches, ms; age of failures, ms; most of each to take at a time.
-- Returns {batches forgotten, failures discarded}.
local batches_ms, failures_ms, most = whole(ARGV[1]), whole(ARGV[2]), digits(whole(ARGV[3], 0))
check_type('zset', 'batches')
check_failures()
check_counters('version')
local now, batches, failures = clock(), 0, 0
local old = redis.call('ZRANGEBYSCORE', k('failures:by_time'), '-inf', digits(now - failures_ms), 'LIMIT', 0, most)
check_ids(old)
for _, n in ipairs(redis.call('ZRANGEBYSCORE', k('batches'), '-inf', digits(now - batches_ms), 'LIMIT', 0, most)) do
  local name = k('batch:' .. n)
  -- With pcall: a key of another type is no settled batch, and stays.
  local state, root = unpack(redis.pcall('HMGET', name, 'state', 'root'))
  local parts = root and number_in(redis.pcall('HGET', k('batch:' .. root), 'parts')) or 0
  if state == 'done' and (parts == 0 or root ~= n) and redis.call('EXISTS', k('batch:' .. n .. ':digests')) == 0 then
    redis.call('DEL', name)
    redis.call('ZREM', k('batches'), n)
    batches = batches + 1
  end
end
for _, id in ipairs(old) do
  if forget_failure(id) then
    failures = failures + 1
    book(lane_of(id), 'failed', -1, 'discarded', 1)
  end
end
if failures > 0 then redis.call('INCR', k('version')) end
return {batches, failures}
