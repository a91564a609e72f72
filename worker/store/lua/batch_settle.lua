-- Write down what became of a claimed batch.
-- ARGV: batch, fence, claim token, plan as JSON, then failures: record id, digests, three lines each.
-- The plan: set {field: text}; ended; zset and delay_ms (where and when the batch is due again, if it has not ended);
--       delivered, failed, unattributed (rows; so many failures follow); refund (the claim sent nothing); orphan_ms (a
--       request of unknown fate may act for so long, 0: there is none); children [{set, zset, delay_ms}];
--       accepted (the platform took something in); doubt (a refusal of a row alone, by its likeness) and account_doubt
--       (a refusal that may concern the account), '': none; stop_lane {code, why, kind, first_ms, last_ms}.
-- Returns {'ok', number of each child...}, or {'stale'}: another worker has claimed the batch since.
local n, name, plan = ARGV[1], k('batch:' .. ARGV[1]), cjson.decode(ARGV[4])
local delivered, failed, unattributed = whole(plan.delivered, 0), whole(plan.failed, 0), whole(plan.unattributed, 0)
local orphan_ms, stop = whole(plan.orphan_ms, 0), plan.stop_lane
if #ARGV ~= 4 + 3 * failed then refuse('there are more or fewer arguments than the plan says') end
check_texts({plan.doubt, plan.account_doubt}, 2)
if type(stop) ~= 'table' then stop = nil end
if stop then
  check_texts({stop.code, stop.why, stop.kind}, 3)
  stop.first_ms, stop.last_ms = whole(stop.first_ms, 0), whole(stop.last_ms, 0)
end
local is_due_set = {}
for _, zset in ipairs(DUE_BATCHES) do is_due_set[zset] = true end

-- The texts and the due time that a batch gets. Returns the delay in ms; 0 for one that has ended.
local function check_part(part, ended)
  for field, value in pairs(part.set) do check_texts({field, value}, 2) end
  if ended then return 0 end
  if not is_due_set[part.zset] then refuse('a batch has no set to be due in') end
  return whole(part.delay_ms)
end

local delay_ms, delays_ms = check_part(plan, plan.ended), {}
for i, child in ipairs(plan.children) do delays_ms[i] = check_part(child, false) end
check_type('zset', 'claims')
-- The token tells a batch from another one of the same number: a server that was restored from an older state gives
-- numbers out again.
local held = redis.call('HMGET', name, 'fence', 'token')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then
  redis.call('ZREM', k('claims'), ARGV[3])
  return {'stale'}
end
local lane, root = unpack(redis.call('HMGET', name, 'lane', 'root'))
if not (lane and root) then refuse('the batch has no lane or no root') end
local rootname = k('batch:' .. root)
check_fields('batch:' .. n, 'fence', 'claims_count', 'delivered', 'failed', 'unattributed')
check_fields('batch:' .. root, 'parts', 'requests')
check_books(lane)
check_counters('batch_seq', 'version')
check_type('zset', 'batches', unpack(DUE_BATCHES))
check_failures()
local ids = {}
for at = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[at] end
check_ids(ids)
check_lane_stop(lane)
check_release(root)
local now = steady()

redis.call('ZREM', k('claims'), ARGV[3]) -- runs with full memory, and lets what follows run
-- The fence grows, so that a repeat of this very call, after its reply was lost, changes nothing.
redis.call('HINCRBY', name, 'fence', 1)
local is_trial = redis.call('ZSCORE', k(TRIAL), n)
for _, zset in ipairs(DUE_BATCHES) do redis.call('ZREM', k(zset), n) end
for field, value in pairs(plan.set) do redis.call('HSET', name, field, value) end
if plan.refund then
  redis.call('HINCRBY', name, 'claims_count', -1)
  redis.call('HINCRBY', rootname, 'requests', -1)
end
if orphan_ms > 0 then redis.call('HSET', rootname, 'orphan_until', now + orphan_ms) end
if plan.accepted then lane_accepted(lane, now) end
if plan.doubt ~= '' then note_doubt(lane, plan.doubt) end
if plan.account_doubt ~= '' then note_account_doubt(lane, root, plan.account_doubt, now) end
local answer = {'ok'}
for i, child in ipairs(plan.children) do
  local number
  repeat number = redis.call('INCR', k('batch_seq')) until redis.call('EXISTS', k('batch:' .. digits(number))) == 0
  local childname = k('batch:' .. digits(number))
  redis.call('HSET', childname, 'lane', lane, 'root', root, 'parent', n, 'fence', 0, 'attempts', 0, 'claims_count', 0,
    'suspects', '[]', 'parked', '[]', 'created_ms', now)
  for field, value in pairs(child.set) do redis.call('HSET', childname, field, value) end
  redis.call('ZADD', k(child.zset), now + delays_ms[i], number)
  redis.call('ZADD', k('batches'), now, number)
  redis.call('HINCRBY', rootname, 'parts', 1)
  answer[#answer + 1] = number
end
for at = 5, #ARGV, 3 do record_failure(ARGV[at], ARGV[at + 1], ARGV[at + 2], now) end
add('batch:' .. n, 'delivered', delivered)
add('batch:' .. n, 'failed', failed)
add('batch:' .. n, 'unattributed', unattributed)
book(lane, 'batched', -delivered - failed, 'delivered', delivered, 'failed', failed, 'unattributed', unattributed)
if not plan.ended then
  redis.call('ZADD', k(plan.zset), now + delay_ms, n)
  if stop then
    stop_lane(n, lane, stop, now)
  elseif is_trial and redis.call('HGET', k('lane:' .. lane), 'stop_code') then
    redis.call('HSET', k('lane:' .. lane), 'try_at', now) -- the trial goes on
  end
  return answer
end
if is_trial then go_on_trying(lane, now) end
-- The error file quotes records, and errors_url leads to it: neither stays.
redis.call('DEL', name .. ':error_file')
redis.call('HDEL', name, 'errors_url')
redis.call('HSET', name, 'state', 'done', 'ended_ms', now)
if redis.call('HINCRBY', rootname, 'parts', -1) == 0 then
  for _, part in ipairs({':body', ':offsets', ':records'}) do redis.call('DEL', rootname .. part) end
  local orphan = number_in(redis.call('HGET', rootname, 'orphan_until')) or 0
  if orphan > now then
    redis.call('INCR', k('version'))
    redis.call('ZADD', k('quarantine'), orphan, root)
  else
    release(root)
  end
end
return answer
