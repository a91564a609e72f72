-- Write down what became of a claimed batch.
-- ARGV: batch, fence, claim token, plan as JSON, then failures: record id, digests, three lines each.
-- The plan: set {field: text}; ended; zset and delay_ms (where and when the batch is due again, if it has not ended);
--       delivered, failed, unattributed (rows; so many failures follow); refund (the claim sent nothing); orphan_ms (a
--       request of unknown fate may act for so long, 0: there is none); children [{set, zset, delay_ms}];
--       accepted (the platform took something in); doubt (a refusal of a row alone, by its likeness) and account_doubt
--       (a refusal that may concern the account), '': none; stop_lane {code, why, kind, first_ms, last_ms}.
-- Returns {'ok', number of each child...}, or {'stale'}: another worker has claimed the batch since.
local n, name, plan, now = ARGV[1], k('batch:' .. ARGV[1]), cjson.decode(ARGV[4]), steady()
redis.call('ZREM', k('claims'), ARGV[3]) -- runs with full memory, and lets what follows run
-- The token tells a batch from another one of the same number: a server that was restored from an older state gives
-- numbers out again.
local held = redis.call('HMGET', name, 'fence', 'token')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return {'stale'} end
-- The fence grows, so that a repeat of this very call, after its reply was lost, changes nothing.
redis.call('HINCRBY', name, 'fence', 1)
local lane, root = unpack(redis.call('HMGET', name, 'lane', 'root'))
local rootname = k('batch:' .. root)
local is_trial = redis.call('ZSCORE', k(TRIAL), n)
for _, zset in ipairs(DUE_BATCHES) do redis.call('ZREM', k(zset), n) end
for field, value in pairs(plan.set) do redis.call('HSET', name, field, value) end
if plan.refund then
  redis.call('HINCRBY', name, 'claims_count', -1)
  redis.call('HINCRBY', rootname, 'requests', -1)
end
if plan.orphan_ms > 0 then redis.call('HSET', rootname, 'orphan_until', now + plan.orphan_ms) end
if plan.accepted then lane_accepted(lane, now) end
if plan.doubt ~= '' then note_doubt(lane, plan.doubt) end
if plan.account_doubt ~= '' then note_account_doubt(lane, root, plan.account_doubt, now) end
local answer = {'ok'}
for _, child in ipairs(plan.children) do
  local number = redis.call('INCR', k('batch_seq'))
  local childname = k('batch:' .. string.format('%d', number))
  redis.call('HSET', childname, 'lane', lane, 'root', root, 'parent', n, 'fence', 0, 'attempts', 0, 'claims_count', 0,
    'suspects', '[]', 'parked', '[]', 'created_ms', now)
  for field, value in pairs(child.set) do redis.call('HSET', childname, field, value) end
  redis.call('ZADD', k(child.zset), now + child.delay_ms, number)
  redis.call('ZADD', k('batches'), now, number)
  redis.call('HINCRBY', rootname, 'parts', 1)
  answer[#answer + 1] = number
end
for at = 5, #ARGV, 3 do record_failure(ARGV[at], ARGV[at + 1], ARGV[at + 2], now) end
if plan.delivered > 0 then redis.call('HINCRBY', name, 'delivered', plan.delivered) end
if plan.failed > 0 then redis.call('HINCRBY', name, 'failed', plan.failed) end
if plan.unattributed > 0 then redis.call('HINCRBY', name, 'unattributed', plan.unattributed) end
book(lane, 'batched', -plan.delivered - plan.failed, 'delivered', plan.delivered, 'failed', plan.failed,
  'unattributed', plan.unattributed)
if not plan.ended then
  redis.call('ZADD', k(plan.zset), now + plan.delay_ms, n)
  if plan.stop_lane then
    stop_lane(n, lane, plan.stop_lane, now)
  elseif is_trial and redis.call('HEXISTS', k('lane:' .. lane), 'stop_code') == 1 then
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
  redis.call('INCR', k('version'))
  local orphan = tonumber(redis.call('HGET', rootname, 'orphan_until') or 0)
  if orphan > now then redis.call('ZADD', k('quarantine'), orphan, root) else release(root, now) end
end
return answer
