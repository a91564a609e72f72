-- Forget settled batches and discard failures after their time.
-- ARGV: age of batches, ms; age of failures, ms; most of each to look at; how many of the oldest batches, and of the
--       oldest failures, to pass over: those that stayed the last time.
-- Returns {batches forgotten, batches that stay, failures discarded, failures that stay}.
local batches_ms, failures_ms, most = whole(ARGV[1]), whole(ARGV[2]), digits(whole(ARGV[3], 0))
local past_batches, past_failures = digits(whole(ARGV[4], 0)), digits(whole(ARGV[5], 0))
check_type('zset', 'batches')
check_failures()
check_counters('version')
local now, batches, failures = clock(), 0, 0

-- The members of a sorted set whose time is over.
local function old(zset, age_ms, past)
  return redis.call('ZRANGEBYSCORE', k(zset), '-inf', digits(now - age_ms), 'LIMIT', past, most)
end

local old_batches = old('batches', batches_ms, past_batches)
local old_failures = old('failures:by_time', failures_ms, past_failures)
check_ids(old_failures)
for _, n in ipairs(old_batches) do
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
for _, id in ipairs(old_failures) do
  if forget_failure(id) then
    failures = failures + 1
    book(lane_of(id), 'failed', -1, 'discarded', 1)
  end
end
if failures > 0 then redis.call('INCR', k('version')) end
return {batches, #old_batches - batches, failures, #old_failures - failures}
