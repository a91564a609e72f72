-- Discard records that wait, are held or are to be tried again.
-- ARGV: lane, then first and last number of each range.
-- Returns how many were discarded.
local lane, gone, freed = ARGV[1], 0, 0
if #ARGV % 2 == 0 then refuse('a range has no end') end
for at = 2, #ARGV do whole(ARGV[at]) end
check_fields('lane:' .. lane, 'head', 'bytes')
check_books(lane)
check_type('list', 'waiting:' .. lane, 'held:' .. lane)
check_type('zset', 'retry:' .. lane, 'held_lanes')
check_failures()
check_counters('version')
redis.call('DEL', k('wakeup:aggregate:' .. lane)) -- runs with full memory, and lets what follows run
local head = tonumber(redis.call('HGET', k('lane:' .. lane), 'head') or 0)
local waiting = redis.call('LLEN', k('waiting:' .. lane))
local left_held = 0
for at = 2, #ARGV, 2 do
  local first, last = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  for seq = math.max(first, head), math.min(last, head + waiting - 1) do
    local raw = redis.call('LINDEX', k('waiting:' .. lane), digits(seq - head))
    if raw ~= '' then
      redis.call('LSET', k('waiting:' .. lane), digits(seq - head), '')
      gone, freed = gone + 1, freed + #raw
    end
  end
  for _, entry in ipairs(redis.call('LRANGE', k('held:' .. lane), 0, -1)) do
    local seq = number_in(string.match(entry, '^%[?(%d+)')) or -1
    if seq >= first and seq <= last then
      redis.call('LREM', k('held:' .. lane), 1, entry)
      left_held = left_held + 1
    end
  end
  for _, seq in ipairs(redis.call('ZRANGEBYSCORE', k('retry:' .. lane), digits(first), digits(last))) do
    forget_failure(lane .. ':' .. seq)
    left_held = left_held + 1
  end
end
if gone + left_held > 0 then
  add('lane:' .. lane, 'bytes', -freed)
  book(lane, 'waiting', -gone, 'held', -left_held, 'discarded', gone + left_held)
  unlist_held(lane)
  redis.call('INCR', k('version'))
end
return gone + left_held
