-- Mend what deleted keys have left behind. It looks again at what it is told, so that nothing is changed that is right by
-- now.
-- ARGV: what, then: batch: its number; contact: identity digest and the root under which it is in flight; lane: its name
--       and its options as JSON; failure: record id and when it failed last, ms.
-- Returns 1 if something was mended, else 0.
local what, now = ARGV[1], clock()
check_type('zset', 'batches', 'quarantine', 'due:aggregate', 'held_lanes', unpack(DUE_BATCHES))
check_type('hash', 'inflight', 'lanes')
check_failures()
check_counters('version')
if what == 'batch' then
  check_type('hash', 'batch:' .. digits(whole(ARGV[2], 1)))
elseif what == 'contact' then
  check_type('hash', 'batch:' .. digits(whole(ARGV[3], 1)))
elseif what == 'lane' then
  check_texts({ARGV[2], ARGV[3]}, 2)
  check_type('list', 'waiting:' .. ARGV[2])
elseif what == 'failure' then
  check_ids({ARGV[2]})
  ARGV[3] = digits(whole(ARGV[3], 0))
else
  refuse('there is no such repair')
end
redis.call('DEL', k('wakeup:dispatch'), k('wakeup:poll')) -- runs with full memory, and lets what follows run

local function is_due(n)
  for _, zset in ipairs(DUE_BATCHES) do
    if redis.call('ZSCORE', k(zset), n) then return true end
  end
  return false
end

-- A batch that has not ended is listed and due. One whose hash is gone is neither.
local function mend_batch(n)
  local batch, mended = redis.call('HMGET', k('batch:' .. n), 'lane', 'root', 'state'), 0
  if not (batch[1] and batch[2] and batch[3]) then
    for _, zset in ipairs(DUE_BATCHES) do mended = mended + redis.call('ZREM', k(zset), n) end
    return mended + redis.call('ZREM', k('batches'), n)
  end
  if not redis.call('ZSCORE', k('batches'), n) then mended = redis.call('ZADD', k('batches'), now, n) end
  if batch[3] ~= 'done' and not is_due(n) then
    local polls = batch[3] == 'polling' or batch[3] == 'fetching_errors'
    mended = redis.call('ZADD', k(polls and 'due:poll' or 'due:dispatch'), now, n)
  end
  return mended
end

-- A contact is in flight while its root has parts, or a request of unknown fate may still act.
local function mend_contact(digest, root)
  local found = redis.call('HMGET', k('batch:' .. root), 'parts', 'orphan_until')
  if redis.call('HGET', k('inflight'), digest) ~= root or redis.call('ZSCORE', k('quarantine'), root) then return 0 end
  if (number_in(found[1]) or 0) > 0 or (number_in(found[2]) or 0) > now then return 0 end
  return redis.call('HDEL', k('inflight'), digest)
end

-- A lane is listed, and due while something waits. Without options only the second is mended.
local function mend_lane(lane, options)
  local mended = options ~= '' and redis.call('HSETNX', k('lanes'), lane, options) or 0
  if redis.call('LLEN', k('waiting:' .. lane)) > 0 and not redis.call('ZSCORE', k('due:aggregate'), lane) then
    mended = redis.call('ZADD', k('due:aggregate'), now, lane)
  end
  return mended
end

-- A failure that is not to be tried again is in the order of time. An entry without a failure counts as discarded.
local function mend_failure(id, at_ms)
  local lane, seq = lane_of(id), string.match(id, '(%d+)$')
  local listed = redis.call('ZSCORE', k('failures:by_time'), id)
  local retried = redis.call('ZSCORE', k('retry:' .. lane), seq)
  if redis.call('HGET', k('failures'), id) then
    if listed or retried then return 0 end
    return redis.call('ZADD', k('failures:by_time'), at_ms, id)
  end
  local place = listed and 'failed' or retried and 'held'
  if not place then return 0 end
  redis.call('ZREM', k('failures:by_time'), id)
  redis.call('ZREM', k('retry:' .. lane), seq)
  unlist_held(lane)
  book(lane, place, -1, 'discarded', 1)
  redis.call('INCR', k('version'))
  return 1
end

if what == 'batch' then return mend_batch(ARGV[2]) end
if what == 'contact' then return mend_contact(ARGV[2], ARGV[3]) end
if what == 'lane' then return mend_lane(ARGV[2], ARGV[3]) end
return mend_failure(ARGV[2], ARGV[3])
