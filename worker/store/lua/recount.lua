-- Count the records of some lanes from the keys, and read their books, in one step. Writes nothing. Where to look for
-- batches and failures was found before, part by part; what came since then is found here.
-- ARGV: a moment before that search; how many lanes follow; the lanes; how many batches follow; the batches of these
--       lanes that had not ended; the record ids of their failures.
-- Returns for each lane {the counters of BOOKS, {accepted, waiting, held, batched, failed as counted}, 1 if it is in
-- `held_lanes` or 0, 1 if something is held or retried in it or 0}.
local since, lanes, counts = ARGV[1], whole(ARGV[2], 0), {}
local batches, at = whole(ARGV[3 + lanes], 0), 4 + lanes
for i = 1, lanes do counts[ARGV[2 + i]] = {batched = 0, failed = 0} end

-- Call a function once for each of the arguments from `first` to `last`, and of the members of a set since then.
local function once(first, last, zset, look)
  local seen = {}
  local function once_each(name)
    if not seen[name] then
      seen[name] = true
      look(name)
    end
  end
  for i = first, last do once_each(ARGV[i]) end
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', k(zset), since, '+inf')) do once_each(name) end
end

once(at, at + batches - 1, 'batches', function(n)
  local lane, state, rows = unpack(redis.call('HMGET', k('batch:' .. n), 'lane', 'state', 'rows'))
  local count = lane and counts[lane]
  if count and state ~= 'done' then count.batched = count.batched + (number_in(rows) or 0) end
end)
once(at + batches, #ARGV, 'failures:by_time', function(id)
  local count = counts[lane_of(id) or '']
  if count and redis.call('ZSCORE', k('failures:by_time'), id) and redis.call('HGET', k('failures'), id) then
    count.failed = count.failed + 1
  end
end)

local function waiting_in(lane, length)
  local waiting = 0
  for from = 0, length - 1, 1000 do
    for _, raw in ipairs(redis.call('LRANGE', k('waiting:' .. lane), from, from + 999)) do
      if raw ~= '' then waiting = waiting + 1 end
    end
  end
  return waiting
end

local function held_in(lane)
  local held = redis.call('LLEN', k('held:' .. lane))
  for _, seq in ipairs(redis.call('ZRANGE', k('retry:' .. lane), 0, -1)) do
    if redis.call('HGET', k('failures'), lane .. ':' .. seq) then held = held + 1 end
  end
  return held
end

local answer = {}
for i = 1, lanes do
  local lane = ARGV[2 + i]
  local books = redis.call('HMGET', k('books:' .. lane), unpack(BOOKS))
  for j = 1, #BOOKS do books[j] = number_in(books[j]) or 0 end
  local length = redis.call('LLEN', k('waiting:' .. lane))
  local accepted = (number_in(redis.call('HGET', k('lane:' .. lane), 'head')) or 0) + length
  answer[i] = {
    books, {accepted, waiting_in(lane, length), held_in(lane), counts[lane].batched, counts[lane].failed},
    redis.call('ZSCORE', k('held_lanes'), lane) and 1 or 0,
    redis.call('EXISTS', k('held:' .. lane), k('retry:' .. lane)) > 0 and 1 or 0,
  }
end
return answer
