-- Put in front of every script. KEYS[1] is the destination's base; see keys.py for what lies under it.
local base = KEYS[1]
local function k(name) return base .. name end

-- The server's clock in milliseconds, plus an offset: see steady().
local function clock()
  local t = redis.call('TIME')
  local offset = redis.call('GET', k('clock'))
  return t[1] * 1000 + math.floor(t[2] / 1000) + (offset and tonumber(offset) or 0)
end

-- The same clock for scripts that run all the time and write: it never goes back. Where the server's clock is set back,
-- or a failover lands on a machine whose clock is behind, everything due, every lease and every permit would wait for
-- as long. So the last moment seen is kept, to the second, and what is missing to it is added to the offset for good.
-- A clock set forward looks just like workers that were away, so nothing is done about it: leases lapse early (they
-- are fenced, repeats are counted), and so do permits and quarantines.
local function steady()
  local now, seen = clock(), tonumber(redis.call('GET', k('seen')) or 0)
  if math.abs(now - seen) < 1000 then return math.max(now, seen) end
  redis.call('DEL', k('seen')) -- a first write that runs with full memory
  redis.call('SET', k('seen'), math.max(now, seen))
  if now > seen then return now end
  redis.call('INCRBY', k('clock'), seen - now)
  redis.call('INCRBY', k('lead'), seen - now)
  -- What expires by the server's own clock now stays for longer: nothing would be rung, and no producer let in.
  redis.call('DEL', k('room'), k('bell:dispatch'), k('bell:poll'))
  for _, lane in ipairs(redis.call('HKEYS', k('lanes'))) do redis.call('DEL', k('bell:aggregate:' .. lane)) end
  return seen
end

-- Move the books of a lane: pairs of name and change.
local function book(lane, ...)
  local moves = {...}
  for i = 1, #moves, 2 do
    if moves[i + 1] ~= 0 then redis.call('HINCRBY', k('books:' .. lane), moves[i], moves[i + 1]) end
  end
end

-- Run a command over many arguments in calls that unpack can bear.
local function each(command, key, args)
  for from = 1, #args, 4000 do
    redis.call(command, key, unpack(args, from, math.min(from + 3999, #args)))
  end
end

local function digests_of(blob)
  local out = {}
  for at = 1, #blob, 8 do out[#out + 1] = string.sub(blob, at, at + 7) end
  return out
end

local function lane_of(id) return string.match(id, '^(.*):%d+$') end

-- The digests of a record that is gone lead to it no more.
local function unindex(id, keys)
  for _, digest in ipairs(digests_of(keys)) do
    local ids = redis.call('HGET', k('failed:by'), digest)
    local left = {}
    for other in string.gmatch(ids or '', '%S+') do
      if other ~= id then left[#left + 1] = other end
    end
    if #left == 0 then
      redis.call('HDEL', k('failed:by'), digest)
    else
      redis.call('HSET', k('failed:by'), digest, table.concat(left, ' '))
    end
  end
end

-- Take a record away that has failed, or that is to be tried again. Returns which of the two it was, as the books call
-- it (failed, held), or false if it is not there (any more).
local function forget_failure(id)
  if redis.call('HDEL', k('failed'), id) == 0 then return false end
  local keys = redis.call('HGET', k('failed:keys'), id)
  redis.call('HDEL', k('failed:keys'), id)
  unindex(id, keys or '')
  if redis.call('ZREM', k('failed:at'), id) == 1 then return 'failed' end
  redis.call('ZREM', k('again:' .. lane_of(id)), string.match(id, '(%d+)$'))
  return 'held'
end

local function record_failure(id, keys, blob, now)
  forget_failure(id) -- as it was before it was tried again
  redis.call('HSET', k('failed'), id, blob)
  redis.call('ZADD', k('failed:at'), now, id)
  redis.call('HSET', k('failed:keys'), id, keys)
  for _, digest in ipairs(digests_of(keys)) do
    local ids = redis.call('HGET', k('failed:by'), digest)
    redis.call('HSET', k('failed:by'), digest, ids and (ids .. ' ' .. id) or id)
  end
end

-- Contacts of a root stop being busy; lanes with something held may go on.
local function release(root, now)
  local keys = redis.call('GET', k('b:' .. root .. ':keys'))
  if keys then each('HDEL', k('busy'), digests_of(keys)) end
  redis.call('DEL', k('b:' .. root .. ':keys'))
  redis.call('ZREM', k('free'), root)
  for _, lane in ipairs(redis.call('HKEYS', k('lanes'))) do
    if redis.call('EXISTS', k('held:' .. lane), k('again:' .. lane)) > 0 then
      local since = tonumber(redis.call('HGET', k('lane:' .. lane), 'held_at') or now)
      local wait = tonumber(redis.call('HGET', k('lane:' .. lane), 'max_wait') or 0)
      redis.call('ZADD', k('aggdue'), 'LT', math.max(now, since + wait), lane)
    end
  end
end
-- Append records to a lane, once for each call id.
-- ARGV: call id, its ttl ms, lane, options JSON, max lane bytes, max wait ms, full-body count, full-body bytes,
--       bytes of the records, share of memory to which intake goes, record...
-- Returns {what, first, count}: 'ok', 'again' (this call was counted before), 'lane' or 'memory' (no room).
local seen = redis.call('GET', k('call:' .. ARGV[1]))
if seen then
  redis.call('DEL', k('bell:aggregate:' .. ARGV[3])) -- runs with full memory, and lets what follows run
  book(ARGV[3], 'repeated', 1)
  local first, count = string.match(seen, '^(%d+):(%d+)$')
  return {'again', tonumber(first), tonumber(count)}
end
local lane, now = ARGV[3], clock()
local state = redis.call('HMGET', k('lane:' .. lane), 'head', 'bytes')
local head, bytes = tonumber(state[1] or 0), tonumber(state[2] or 0)
if bytes + ARGV[9] > tonumber(ARGV[5]) then return {'lane', 0, 0} end
local before, count = redis.call('LLEN', k('wait:' .. lane)), #ARGV - 10
-- Memory is measured once a second at most, and again when what was left then has been taken.
local takes = math.floor(ARGV[9] + 16 * count + 300)
if tonumber(redis.call('GET', k('room')) or 0) < takes then
  local info, left = redis.pcall('INFO', 'memory'), 1e15
  if type(info) == 'string' then -- an ACL may forbid it: Redis refuses by itself then, when it is full
    local most = tonumber(string.match(info, 'maxmemory:(%d+)') or 0)
    if most > 0 then left = math.floor(most * ARGV[10]) - tonumber(string.match(info, 'used_memory:(%d+)')) end
  end
  if left < takes then return {'memory', 0, 0} end
  redis.call('SET', k('room'), string.format('%d', left), 'PX', 1000)
end
redis.call('DECRBY', k('room'), takes)
local first = head + before
redis.call('SET', k('call:' .. ARGV[1]), string.format('%d:%d', first, count), 'PX', ARGV[2])
for from = 11, #ARGV, 4000 do
  redis.call('RPUSH', k('wait:' .. lane), unpack(ARGV, from, math.min(from + 3999, #ARGV)))
end
redis.call('HINCRBY', k('lane:' .. lane), 'bytes', ARGV[9])
redis.call('HSET', k('lane:' .. lane), 'max_wait', ARGV[6])
redis.call('HSETNX', k('lanes'), lane, ARGV[4])
book(lane, 'accepted', count, 'waiting', count)
local mark = redis.call('LINDEX', k('marks:' .. lane), -1)
if not mark or now - tonumber(string.match(mark, ':(%d+)$')) >= 1000 then
  redis.call('RPUSH', k('marks:' .. lane), string.format('%d:%d', first, now))
end
local full = before + count >= tonumber(ARGV[7]) or bytes + ARGV[9] >= tonumber(ARGV[8])
redis.call('ZADD', k('aggdue'), 'LT', full and now or now + ARGV[6], lane)
return {'ok', first, count}
