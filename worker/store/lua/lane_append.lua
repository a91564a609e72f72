-- Append records to a lane, once for each call id.
-- ARGV: call id, its ttl ms, lane, options JSON, max lane bytes, max wait ms, full-body count, full-body bytes,
--       bytes of the records, share of memory to which intake goes, digest of the records (may be empty), record...
-- Returns {what, first, count, epoch}: 'ok' and the numbers the records have; 'again' and those they have since the first
-- time. {what, 0, 0}: 'reused' (the call id was used for other records), 'lane' (the lane is full) or 'memory' (the share
-- of memory is used up).
for at = 5, 9 do ARGV[at] = digits(whole(ARGV[at], 0)) end
ARGV[2] = digits(whole(ARGV[2], 1))
local taken = redis.call('GET', k('idempotency:' .. ARGV[1]))
if taken and not string.find(taken, '^%d+:%d+') then refuse('what a call appended cannot be read') end
check_books(ARGV[3])
check_fields('lane:' .. ARGV[3], 'head', 'bytes')
check_type('list', 'waiting:' .. ARGV[3], 'arrivals:' .. ARGV[3])
check_type('hash', 'lanes', 'epoch')
check_type('zset', 'due:aggregate', 'epochs:' .. ARGV[3])
local seen = redis.call('GET', k('idempotency:' .. ARGV[1]))
if seen then
  local first, count, digest = string.match(seen, '^(%d+):(%d+):?(%x*)$')
  if digest ~= '' and digest ~= ARGV[11] then return {'reused', 0, 0} end
  redis.call('DEL', k('wakeup:aggregate:' .. ARGV[3])) -- runs with full memory, and lets what follows run
  book(ARGV[3], 'repeated', 1)
  return {'again', tonumber(first), tonumber(count), epoch_of(ARGV[3], first)}
end
local lane, now = ARGV[3], clock()
local state = redis.call('HMGET', k('lane:' .. lane), 'head', 'bytes')
local head, bytes = tonumber(state[1] or 0), tonumber(state[2] or 0)
if bytes + ARGV[9] > tonumber(ARGV[5]) then return {'lane', 0, 0} end
local before, count = redis.call('LLEN', k('waiting:' .. lane)), #ARGV - 11
-- Memory is measured once a second at most, and again when what was left then has been used up.
local takes, measured = math.floor(ARGV[9] + 16 * count + 300), false
if tonumber(redis.call('GET', k('intake_allowance')) or 0) < takes then
  local info, left = redis.pcall('INFO', 'memory'), 1e15
  if type(info) == 'string' then -- an ACL may forbid INFO: then Redis itself refuses, when it is full
    local most = tonumber(string.match(info, 'maxmemory:(%d+)') or 0)
    if most > 0 then left = math.floor(most * ARGV[10]) - tonumber(string.match(info, 'used_memory:(%d+)')) end
  end
  if left < takes then return {'memory', 0, 0} end
  redis.call('SET', k('intake_allowance'), string.format('%d', left), 'PX', 1000)
  measured = true
end
redis.call('DECRBY', k('intake_allowance'), takes)
local first = head + before
local epoch = next_epoch(lane, first, ARGV[1], measured)
redis.call('SET', k('idempotency:' .. ARGV[1]), string.format('%d:%d%s', first, count, ARGV[11] == '' and '' or ':' .. ARGV[11]), 'PX', ARGV[2])
for from = 12, #ARGV, 4000 do
  redis.call('RPUSH', k('waiting:' .. lane), unpack(ARGV, from, math.min(from + 3999, #ARGV)))
end
redis.call('HINCRBY', k('lane:' .. lane), 'bytes', ARGV[9])
redis.call('HSET', k('lane:' .. lane), 'max_wait', ARGV[6])
redis.call('HSETNX', k('lanes'), lane, ARGV[4])
book(lane, 'accepted', count, 'waiting', count)
local latest = redis.call('LINDEX', k('arrivals:' .. lane), -1)
if not latest or now - (number_in(string.match(latest, ':(%d+)$')) or 0) >= 1000 then
  redis.call('RPUSH', k('arrivals:' .. lane), string.format('%d:%d', first, now))
end
local full = before + count >= tonumber(ARGV[7]) or bytes + ARGV[9] >= tonumber(ARGV[8])
redis.call('ZADD', k('due:aggregate'), 'LT', full and now or now + ARGV[6], lane)
return {'ok', first, count, epoch}
