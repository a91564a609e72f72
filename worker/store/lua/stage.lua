-- Stage a small body although memory is full: cutting moves records from the lane into it, and frees them in turn.
-- ARGV: ttl ms, then body, rows, entries, keys. Returns its number. Made twice, the first one expires.
local n = string.format('%d', tonumber(redis.call('GET', k('serial')) or 0) + 1)
redis.call('DEL', k('b:' .. n .. ':body')) -- runs with full memory, and lets what follows run
redis.call('INCR', k('serial'))
for at, part in ipairs({':body', ':rows', ':entries', ':keys'}) do
  redis.call('SET', k('b:' .. n .. part), ARGV[at + 1], 'PX', ARGV[1])
end
return tonumber(n)
