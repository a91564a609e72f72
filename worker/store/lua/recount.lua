-- Count the records of a lane from the keys, and read its books, in one step. It reads everything that lies there, so it
-- is slow: for checks only.
-- ARGV: lane.
-- Returns {the counters of BOOKS, {accepted, waiting, held, batched, failed as counted}}.
local lane = ARGV[1]
local books = {}
for i, name in ipairs(BOOKS) do books[i] = number_in(redis.call('HGET', k('books:' .. lane), name)) or 0 end
local length, waiting = redis.call('LLEN', k('waiting:' .. lane)), 0
for from = 0, length - 1, 1000 do
  for _, raw in ipairs(redis.call('LRANGE', k('waiting:' .. lane), from, from + 999)) do
    if raw ~= '' then waiting = waiting + 1 end
  end
end
local batched = 0
for _, n in ipairs(redis.call('ZRANGE', k('batches'), 0, -1)) do
  local batch = redis.call('HMGET', k('batch:' .. n), 'lane', 'state', 'rows')
  if batch[1] == lane and batch[2] ~= 'done' then batched = batched + (number_in(batch[3]) or 0) end
end
local failed, held = 0, redis.call('LLEN', k('held:' .. lane))
for _, id in ipairs(redis.call('HKEYS', k('failures'))) do
  if lane_of(id) == lane then
    if redis.call('ZSCORE', k('failures:by_time'), id) then failed = failed + 1 end
    if redis.call('ZSCORE', k('retry:' .. lane), string.match(id, '(%d+)$')) then held = held + 1 end
  end
end
local accepted = (number_in(redis.call('HGET', k('lane:' .. lane), 'head')) or 0) + length
return {books, {accepted, waiting, held, batched, failed}}
