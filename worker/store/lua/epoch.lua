-- Put in front of scripts that give out numbers in a lane. An epoch is an id of a moment (seconds, microseconds)
-- and of the first call in it: numbers of one epoch are given out once. See store/integrity/epochs.py.

-- What the server calls its own run; '' where an ACL forbids INFO. A restart and a failover change it.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

-- The epoch of a number that was given out; '' for one that a release without epochs gave out.
local function epoch_of(lane, number)
  local found = redis.call('ZRANGEBYSCORE', k('epochs:' .. lane), '-inf', string.format('%d', number))
  return found[#found] or ''
end

-- The epoch of the numbers that a lane gives out from `first` on. `call` is the id of the call. With `looks` the server
-- is asked for its run: that is done once a second.
local function next_epoch(lane, first, call, looks)
  local known = redis.call('HMGET', k('epoch'), 'id', 'run_id')
  local id, run = known[1], known[2]
  if looks or not id then run = run_id() end
  if not id or run ~= known[2] then
    local time, sum = redis.call('TIME'), 0
    for _, byte in ipairs({string.byte(run .. call, 1, 300)}) do sum = (sum * 257 + byte) % 4093 end
    id = string.format('%08x%05x%03x', tonumber(time[1]), tonumber(time[2]), sum)
    redis.call('HSET', k('epoch'), 'id', id, 'run_id', run)
  end
  if not redis.call('ZSCORE', k('epochs:' .. lane), id) then
    redis.call('ZADD', k('epochs:' .. lane), string.format('%d', first), id)
    local old = redis.call('ZRANGE', k('epochs:' .. lane), 0, -65)
    if #old > 0 then redis.call('ZREM', k('epochs:' .. lane), unpack(old)) end
  end
  return id
end
