-- Stage a small body although memory is full: cutting moves records from the lane into it, and frees them in turn.
-- ARGV: ttl ms, then body, rows, entries, keys. Returns its number. Made twice, the first one expires.
local n = string.format('%d', tonumber(redis.call('GET', k('batch_seq')) or 0) + 1)
redis.call('DEL', k('batch:' .. n .. ':body')) -- runs with full memory, and lets what follows run
redis.call('INCR', k('batch_seq'))
for at, part in ipairs({':body', ':offsets', ':records', ':digests'}) do
  redis.call('SET', k('batch:' .. n .. part), ARGV[at + 1], 'PX', ARGV[1])
end
return tonumber(n)
