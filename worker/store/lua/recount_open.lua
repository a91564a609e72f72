-- Find batches that have not ended, for a recount. Looks at a part of the batches, and writes nothing.
-- ARGV: cursor (0: from the beginning), about how many batches to look at.
-- Returns {the next cursor, 0 at the end; number and lane of each such batch, a space between...}.
local found = redis.call('ZSCAN', k('batches'), ARGV[1], 'COUNT', ARGV[2])
local answer = {found[1]}
for at = 1, #found[2], 2 do
  local n = found[2][at]
  local lane, state = unpack(redis.call('HMGET', k('batch:' .. n), 'lane', 'state'))
  if lane and state ~= 'done' then answer[#answer + 1] = n .. ' ' .. lane end
end
return answer
