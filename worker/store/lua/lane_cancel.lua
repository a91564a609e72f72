-- Discard records that wait, are held or are to be tried again.
-- ARGV: lane, then first and last number of each range.
-- Returns how many were discarded.
local lane, gone, freed = ARGV[1], 0, 0
redis.call('DEL', k('wakeup:aggregate:' .. lane))
local head = tonumber(redis.call('HGET', k('lane:' .. lane), 'head') or 0)
local waiting = redis.call('LLEN', k('waiting:' .. lane))
local left_held = 0
for at = 2, #ARGV, 2 do
  local first, last = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  for seq = math.max(first, head), math.min(last, head + waiting - 1) do
    local raw = redis.call('LINDEX', k('waiting:' .. lane), seq - head)
    if raw ~= '' then
      redis.call('LSET', k('waiting:' .. lane), seq - head, '')
      gone, freed = gone + 1, freed + #raw
    end
  end
  for _, entry in ipairs(redis.call('LRANGE', k('held:' .. lane), 0, -1)) do
    local seq = tonumber(string.match(entry, '^%[?(%d+)'))
    if seq >= first and seq <= last then
      redis.call('LREM', k('held:' .. lane), 1, entry)
      left_held = left_held + 1
    end
  end
  for _, seq in ipairs(redis.call('ZRANGEBYSCORE', k('retry:' .. lane), first, last)) do
    forget_failure(lane .. ':' .. seq)
    left_held = left_held + 1
  end
end
if gone + left_held > 0 then
  if freed > 0 then redis.call('HINCRBY', k('lane:' .. lane), 'bytes', -freed) end
  book(lane, 'waiting', -gone, 'held', -left_held, 'discarded', gone + left_held)
  redis.call('INCR', k('version'))
end
return gone + left_held
