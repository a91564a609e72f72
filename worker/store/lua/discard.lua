-- Failed records end for good. ARGV: id... Returns how many there were.
local gone = 0
for _, id in ipairs(ARGV) do
  if forget_failure(id) then
    gone = gone + 1
    book(string.match(id, '^(.*):%d+$'), 'failed', -1, 'discarded', 1)
  end
end
if gone > 0 then redis.call('INCR', k('v')) end
return gone
