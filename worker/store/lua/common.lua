-- Put in front of every script, behind the constants that scripts.py adds and checks.lua.

-- The server's clock in milliseconds, plus an offset: see steady().
local function clock()
  local t = redis.call('TIME')
  local offset = redis.call('GET', k('clock_offset'))
  return t[1] * 1000 + math.floor(t[2] / 1000) + (number_in(offset) or 0)
end

-- The same clock for scripts that run often and write: it never goes back. When the server's clock is set back, or a
-- failover leads to a machine whose clock is behind, everything due, every lease and every permit would wait for that
-- long. So the latest moment seen is kept, to the second, and the difference is added to the offset for good. A clock
-- that is set forward looks like workers that were away, and nothing is done about it: leases end early (they are
-- fenced, and repeats are counted), and so do permits and quarantines. A script calls it before its first write.
local function steady()
  local now, seen = clock(), tonumber(redis.call('GET', k('clock_last')) or 0)
  if math.abs(now - seen) < 1000 then return math.max(now, seen) end
  check_clock()
  redis.call('DEL', k('clock_last')) -- runs with full memory, and lets what follows run
  redis.call('SET', k('clock_last'), math.max(now, seen))
  if now > seen then return now end
  redis.call('INCRBY', k('clock_offset'), seen - now)
  redis.call('INCRBY', k('clock_setback'), seen - now)
  -- What expires by the server's own clock would stay too long: no wake-up would be sent, and no producer let in.
  redis.call('DEL', k('intake_allowance'), k('wakeup:dispatch'), k('wakeup:poll'))
  for _, lane in ipairs(redis.call('HKEYS', k('lanes'))) do redis.call('DEL', k('wakeup:aggregate:' .. lane)) end
  return seen
end

-- Add to a field of a hash. A change of nothing is left out: HINCRBY refuses the `-0` that `-change` may be.
local function add(name, field, change)
  if change ~= 0 then redis.call('HINCRBY', k(name), field, digits(change)) end
end

-- Move the books of a lane: pairs of name and change.
local function book(lane, ...)
  local moves = {...}
  for i = 1, #moves, 2 do add('books:' .. lane, moves[i], moves[i + 1]) end
end

-- Run a command over many arguments: unpack takes a few thousand at a time.
local function each(command, key, args)
  for from = 1, #args, 4000 do
    redis.call(command, key, unpack(args, from, math.min(from + 3999, #args)))
  end
end

-- A text of digests, each DIGEST_BYTES long, as a list.
local function digests_of(blob)
  local out = {}
  for at = 1, #blob, DIGEST_BYTES do out[#out + 1] = string.sub(blob, at, at + DIGEST_BYTES - 1) end
  return out
end

-- The lane of a record id: `newsletter` of `newsletter:17`.
local function lane_of(id) return string.match(id, '^(.*):%d+$') end

-- Remove a record from the index of failures by digest.
local function unindex(id, keys)
  for _, digest in ipairs(digests_of(keys)) do
    local ids = redis.call('HGET', k('failures:by_digest'), digest)
    local left = {}
    for other in string.gmatch(ids or '', '%S+') do
      if other ~= id then left[#left + 1] = other end
    end
    if #left == 0 then
      redis.call('HDEL', k('failures:by_digest'), digest)
    else
      redis.call('HSET', k('failures:by_digest'), digest, table.concat(left, ' '))
    end
  end
end

-- A lane in which nothing is held or retried any more leaves `held_lanes`.
local function unlist_held(lane)
  if redis.call('EXISTS', k('held:' .. lane), k('retry:' .. lane)) == 0 then redis.call('ZREM', k('held_lanes'), lane) end
end

-- Remove a record that has failed or is to be tried again. Returns the counter of the books that it stood under (failed
-- or held), or false if it is not there.
local function forget_failure(id)
  if redis.call('HDEL', k('failures'), id) == 0 then return false end
  local keys = redis.call('HGET', k('failures:digests'), id)
  redis.call('HDEL', k('failures:digests'), id)
  unindex(id, keys or '')
  if redis.call('ZREM', k('failures:by_time'), id) == 1 then return 'failed' end
  redis.call('ZREM', k('retry:' .. lane_of(id)), string.match(id, '(%d+)$'))
  return 'held'
end

-- Store a failure: record id, its digests, its three lines. It replaces what the record was before it was tried again.
local function record_failure(id, keys, blob, now)
  forget_failure(id)
  redis.call('HSET', k('failures'), id, blob)
  redis.call('ZADD', k('failures:by_time'), now, id)
  redis.call('HSET', k('failures:digests'), id, keys)
  for _, digest in ipairs(digests_of(keys)) do
    local ids = redis.call('HGET', k('failures:by_digest'), digest)
    redis.call('HSET', k('failures:by_digest'), digest, ids and (ids .. ' ' .. id) or id)
  end
end

-- The contacts of an ended root leave `inflight`, and the version grows. Lanes in which something is held or retried
-- become due by the next tick, which looks for those that were put into `held_lanes` at a version before `released`.
-- So the end of a batch costs the same however many lanes there are.
local function release(root)
  local keys = redis.call('GET', k('batch:' .. root .. ':digests'))
  if keys then each('HDEL', k('inflight'), digests_of(keys)) end
  redis.call('DEL', k('batch:' .. root .. ':digests'))
  redis.call('ZREM', k('quarantine'), root)
  redis.call('SET', k('released'), digits(redis.call('INCR', k('version'))))
end
