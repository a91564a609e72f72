-- Commit one round of aggregation, all or nothing: bodies become batches, records leave the lane, the held list is
-- rewritten, refused records become failures, the books move.
--
-- ARGV[1] is the plan, as JSON:
--   {"lane": "newsletter",   the lane
--    "version": "41",        the destination's version at the snapshot
--    "consumed": 1200,       records to take off the front of `waiting`
--    "cancelled": 3,         those of them that were cancelled
--    "bytes": 480211,        bytes of all of them
--    "packed_retries": [7, 9],  numbers of retried records that leave `retry`
--    "retry_cursor": -1,     number from which the next round reads retried records; -1 leaves it as it is
--    "held": 2,              held records that follow as arguments; -1 leaves the held list as it is
--    "held_delta": 1,        change of the number of held and retried records
--    "merged": 40,           records that became part of another one
--    "dropped": 0,           custom fields left out
--    "bodies": [{"batch": 118, "rows": 1150, "bytes": 511902}],  staged bodies
--    "refused": 1,           failures that follow as arguments
--    "superseded": 1,        older failures that follow as arguments
--    "due_ms": 5000}         delay to the lane's next round; -1 for none
-- After it: the held records (an entry each); for each refused record its id, its digests and its failure; for each
-- superseded failure its id and what is left of it ('' deletes the failure).
--
-- Returns 'ok'; 'stale' if the version has changed; 'expired' if a staged body is gone or is not the one staged.

local plan = cjson.decode(ARGV[1])
local lane, consumed, cancelled = plan.lane, whole(plan.consumed, 0), whole(plan.cancelled, 0)
local bytes, held, held_delta = whole(plan.bytes, 0), whole(plan.held, -1), whole(plan.held_delta)
local retry_cursor, due_ms, version = whole(plan.retry_cursor, -1), whole(plan.due_ms, -1), whole(plan.version, 0)
local refused, superseded = whole(plan.refused, 0), whole(plan.superseded, 0)
local merged, dropped, packed_retries = whole(plan.merged, 0), whole(plan.dropped, 0), {}
for i, seq in ipairs(plan.packed_retries) do packed_retries[i] = digits(whole(seq, 0)) end
local first_refused = 2 + math.max(held, 0)
local first_superseded = first_refused + 3 * refused
if #ARGV + 1 ~= first_superseded + 2 * superseded then refuse('there are more or fewer arguments than the plan says') end
local bodies, rows = {}, 0
for i, body in ipairs(plan.bodies) do
  bodies[i] = {batch = digits(whole(body.batch, 1)), rows = whole(body.rows, 1), bytes = whole(body.bytes, 0)}
  rows = rows + bodies[i].rows
end

-- The first body is a batch already: this commit was applied before and its reply was lost.
if bodies[1] and redis.call('EXISTS', k('batch:' .. bodies[1].batch)) == 1 then return 'ok' end
if (redis.call('GET', k('version')) or '0') ~= plan.version then return 'stale' end
for _, body in ipairs(bodies) do
  local name = 'batch:' .. body.batch
  -- A body of another length was staged by another worker: a server restored from an older state gives numbers twice.
  if redis.call('STRLEN', k(name .. ':body')) ~= body.bytes then return 'expired' end
  for _, part in ipairs(BODY_PARTS) do
    check_type('string', name .. ':' .. part)
    if redis.call('EXISTS', k(name .. ':' .. part)) == 0 then return 'expired' end
  end
  if redis.call('EXISTS', k(name)) == 1 then refuse('a body is a batch already') end
end
check_counters('version', 'clock_offset')
check_fields('lane:' .. lane, 'bytes', 'head')
check_books(lane)
check_type('list', 'held:' .. lane, 'arrivals:' .. lane)
check_type('zset', 'retry:' .. lane, 'held_lanes', 'due:aggregate', 'due:dispatch', 'batches')
check_type('hash', 'inflight')
check_failures()
local ids, lanes_seen = {}, {[lane] = true}
for at = first_refused, first_superseded - 1, 3 do ids[#ids + 1] = ARGV[at] end
for at = first_superseded, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
check_ids(ids, lanes_seen)
if cancelled > consumed or consumed > redis.call('LLEN', k('waiting:' .. lane)) then
  refuse('more records were taken than wait')
end
local now = clock()

-- DEL is allowed when memory is full. As the script's first write it lets the later ones run.
redis.call('DEL', k('wakeup:aggregate:' .. lane))
if held >= 0 then
  redis.call('DEL', k('held:' .. lane))
  local entries = {}
  for at = 2, first_refused - 1 do entries[#entries + 1] = ARGV[at] end
  each('RPUSH', k('held:' .. lane), entries)
end
remove_packed_retries(lane, packed_retries)
if retry_cursor >= 0 then redis.call('HSET', k('lane:' .. lane), 'retry_cursor', digits(retry_cursor)) end
if consumed > 0 then
  redis.call('LTRIM', k('waiting:' .. lane), digits(consumed), -1)
  -- Where all that was taken had been cancelled, the bytes have left the lane before.
  add('lane:' .. lane, 'bytes', -bytes)
  local head = redis.call('HINCRBY', k('lane:' .. lane), 'head', digits(consumed))
  -- An arrival is kept while a record between it and the next arrival still waits.
  while true do
    local second = redis.call('LINDEX', k('arrivals:' .. lane), 1)
    if not second or (number_in(string.match(second, '^(%d+)')) or 0) > head then break end
    redis.call('LPOP', k('arrivals:' .. lane))
  end
  if redis.call('EXISTS', k('waiting:' .. lane)) == 0 then redis.call('DEL', k('arrivals:' .. lane)) end
end
for _, body in ipairs(bodies) do
  local name = 'batch:' .. body.batch
  for _, part in ipairs(BODY_PARTS) do redis.call('PERSIST', k(name .. ':' .. part)) end
  redis.call('HSET', k(name), 'lane', lane, 'root', body.batch, 'state', 'ready', 'rows', digits(body.rows),
    'bytes', digits(body.bytes), 'sending', '[[0,' .. digits(body.rows) .. ']]', 'suspects', '[]', 'parked', '[]',
    'fence', 0, 'attempts', 0, 'claims_count', 0, 'parts', 1, 'created_ms', now, 'packed_version', digits(version + 1))
  redis.call('ZADD', k('due:dispatch'), now, body.batch)
  redis.call('ZADD', k('batches'), now, body.batch)
  local in_flight = {}
  for _, digest in ipairs(digests_of(redis.call('GET', k(name .. ':digests')))) do
    in_flight[#in_flight + 1] = digest
    in_flight[#in_flight + 1] = body.batch
  end
  each('HSET', k('inflight'), in_flight)
end
for at = first_refused, first_superseded - 1, 3 do record_failure(ARGV[at], ARGV[at + 1], ARGV[at + 2], now) end
for at = first_superseded, #ARGV, 2 do
  local id, failure = ARGV[at], ARGV[at + 1]
  if failure ~= '' then
    redis.call('HSET', k('failures'), id, failure)
  else
    local stood = forget_failure(id)
    if stood then book(lane_of(id), stood, -1, 'merged', 1) end
  end
end
book(lane, 'waiting', cancelled - consumed, 'held', held_delta, 'batched', rows, 'merged', merged, 'failed', refused,
  'dropped', dropped)
if redis.call('EXISTS', k('held:' .. lane)) == 1 or redis.call('EXISTS', k('retry:' .. lane)) == 1 then
  redis.call('HSET', k('lane:' .. lane), 'held_at', now)
  redis.call('ZADD', k('held_lanes'), digits(version + 1), lane)
else
  redis.call('HDEL', k('lane:' .. lane), 'held_at')
  redis.call('ZREM', k('held_lanes'), lane)
end
redis.call('INCR', k('version'))
if due_ms < 0 then
  redis.call('ZREM', k('due:aggregate'), lane)
else
  redis.call('ZADD', k('due:aggregate'), now + due_ms, lane)
end
-- Records that arrived after the snapshot make the lane due at once.
if due_ms < 0 and redis.call('EXISTS', k('waiting:' .. lane)) == 1 then
  redis.call('ZADD', k('due:aggregate'), now, lane)
end
return 'ok'
