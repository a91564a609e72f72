-- Stage a small body although the memory of Redis is full. The commit that follows takes the body's records off the
-- lane, which frees more memory than the body takes.
-- ARGV: time to live in ms, then the parts: body, offsets, records, digests.
-- Returns the batch number. If the script runs twice because its reply was lost, the first copy expires.
local ttl_ms = digits(whole(ARGV[1], 1))
if #ARGV ~= 5 then refuse('there are more or fewer arguments than a body has parts') end
check_counters('batch_seq')
local batch = digits(tonumber(redis.call('GET', k('batch_seq')) or 0) + 1)
-- DEL is allowed when memory is full. As the script's first write it lets the later ones run.
redis.call('DEL', k('batch:' .. batch .. ':body'))
redis.call('INCR', k('batch_seq'))
for i, part in ipairs(BODY_PARTS) do
  redis.call('SET', k('batch:' .. batch .. ':' .. part), ARGV[i + 1], 'PX', ttl_ms)
end
return tonumber(batch)
