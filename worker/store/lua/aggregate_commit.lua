-- One aggregation: bodies become batches, records leave the lane, held is rewritten, the books move. All or nothing.
-- ARGV[1] is the plan as JSON:
--   lane, version, cut (elements off the front of wait), tombs (cancelled ones among them), bytes, taken (retried ones
--   that leave again), again_at (where to look among the others next, -1: as before), held (how many follow, or -1 to
--   leave the list), held_delta, merged, bodies [{n, rows, bytes}], refused (how many failures follow), strips (how
--   many), dropped, due_ms (when to look again, or -1)
-- then: held entries; failures as id, digests, blob; strips as id, blob ('' takes the record away).
-- Returns 'ok', 'stale' (somebody was faster), or 'expired' (a staged body is gone, or not the one that was staged).

-- `forget_failure` for many, in few commands: retried records that leave, by their numbers.
local function take_retried(lane, numbers)
  for from = 1, #numbers, 1000 do
    local seqs, ids, digests, owners, alone = {}, {}, {}, {}, {}
    for i = from, math.min(from + 999, #numbers) do
      seqs[#seqs + 1] = string.format('%d', numbers[i])
      ids[#ids + 1] = lane .. ':' .. seqs[#seqs]
    end
    for i, keys in ipairs(redis.call('HMGET', k('failures:digests'), unpack(ids))) do
      for _, digest in ipairs(digests_of(keys or '')) do
        digests[#digests + 1], owners[#owners + 1] = digest, ids[i]
      end
    end
    redis.call('HDEL', k('failures'), unpack(ids))
    redis.call('HDEL', k('failures:digests'), unpack(ids))
    redis.call('ZREM', k('retry:' .. lane), unpack(seqs))
    for at = 1, #digests, 1000 do
      local last = math.min(at + 999, #digests)
      for i, found in ipairs(redis.call('HMGET', k('failures:by_digest'), unpack(digests, at, last))) do
        local digest, id = digests[at + i - 1], owners[at + i - 1]
        if found == id then alone[#alone + 1] = digest else unindex(id, digest) end
      end
    end
    each('HDEL', k('failures:by_digest'), alone)
  end
end

local plan = cjson.decode(ARGV[1])
local lane, now = plan.lane, clock()
-- Its first body is a batch already: this very commit was made before, and only its reply was lost.
if plan.bodies[1] and redis.call('EXISTS', k('batch:' .. plan.bodies[1].n)) == 1 then return 'ok' end
if (redis.call('GET', k('version')) or '0') ~= plan.version then return 'stale' end
for _, body in ipairs(plan.bodies) do
  -- Of another length it is somebody else's: a server that was restored from an older state gives numbers out anew.
  if redis.call('STRLEN', k('batch:' .. body.n .. ':body')) ~= body.bytes then return 'expired' end
end
redis.call('DEL', k('wakeup:aggregate:' .. lane)) -- a first write that runs with full memory
local at = 2
if plan.held >= 0 then
  redis.call('DEL', k('held:' .. lane))
  local entries = {}
  for i = at, at + plan.held - 1 do entries[#entries + 1] = ARGV[i] end
  each('RPUSH', k('held:' .. lane), entries)
  at = at + plan.held
end
take_retried(lane, plan.taken)
if plan.again_at >= 0 then redis.call('HSET', k('lane:' .. lane), 'retry_cursor', plan.again_at) end
if plan.cut > 0 then
  redis.call('LTRIM', k('waiting:' .. lane), plan.cut, -1)
  redis.call('HINCRBY', k('lane:' .. lane), 'bytes', -plan.bytes)
  local head = redis.call('HINCRBY', k('lane:' .. lane), 'head', plan.cut)
  -- A mark stays as long as a record that came under it still waits.
  while true do
    local second = redis.call('LINDEX', k('arrivals:' .. lane), 1)
    if not second or tonumber(string.match(second, '^(%d+)')) > head then break end
    redis.call('LPOP', k('arrivals:' .. lane))
  end
  if redis.call('EXISTS', k('waiting:' .. lane)) == 0 then redis.call('DEL', k('arrivals:' .. lane)) end
end
local batched = 0
for _, body in ipairs(plan.bodies) do
  local name = 'batch:' .. body.n
  for _, part in ipairs({':body', ':offsets', ':records', ':digests'}) do redis.call('PERSIST', k(name .. part)) end
  redis.call('HSET', k(name), 'lane', lane, 'root', body.n, 'state', 'ready', 'rows', body.rows, 'bytes', body.bytes,
    'sending', '[[0,' .. string.format('%d', body.rows) .. ']]', 'suspects', '[]', 'parked', '[]', 'fence', 0, 'attempts', 0,
    'claims_count', 0, 'parts', 1, 'created_ms', now, 'packed_version', plan.version + 1)
  redis.call('ZADD', k('due:dispatch'), now, body.n)
  redis.call('ZADD', k('batches'), now, body.n)
  local pairs_ = {}
  for _, digest in ipairs(digests_of(redis.call('GET', k(name .. ':digests')))) do
    pairs_[#pairs_ + 1] = digest
    pairs_[#pairs_ + 1] = body.n
  end
  each('HSET', k('inflight'), pairs_)
  batched = batched + body.rows
end
for _ = 1, plan.refused do
  record_failure(ARGV[at], ARGV[at + 1], ARGV[at + 2], now)
  at = at + 3
end
for _ = 1, plan.strips do
  local id, blob = ARGV[at], ARGV[at + 1]
  if blob ~= '' then
    redis.call('HSET', k('failures'), id, blob)
  else
    book(lane_of(id), forget_failure(id), -1, 'merged', 1)
  end
  at = at + 2
end
book(lane, 'waiting', plan.tombs - plan.cut, 'held', plan.held_delta, 'batched', batched, 'merged', plan.merged,
  'failed', plan.refused, 'dropped', plan.dropped)
if redis.call('EXISTS', k('held:' .. lane)) == 1 or redis.call('EXISTS', k('retry:' .. lane)) == 1 then
  redis.call('HSET', k('lane:' .. lane), 'held_at', now)
else
  redis.call('HDEL', k('lane:' .. lane), 'held_at')
end
redis.call('INCR', k('version'))
if plan.due_ms < 0 then
  redis.call('ZREM', k('due:aggregate'), lane)
else
  redis.call('ZADD', k('due:aggregate'), now + plan.due_ms, lane)
end
-- Records that came while this walk was under way arm the lane again.
if plan.due_ms < 0 and redis.call('EXISTS', k('waiting:' .. lane)) == 1 then
  redis.call('ZADD', k('due:aggregate'), now, lane)
end
return 'ok'
