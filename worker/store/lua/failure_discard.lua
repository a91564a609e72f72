-- Discard failed records. A record that is to be tried again is not failed, and stays.
-- ARGV: record id...
-- Returns how many were discarded.
local gone = 0
check_failures()
check_ids(ARGV)
check_counters('version')
for _, id in ipairs(ARGV) do
  if redis.call('ZSCORE', k('failures:by_time'), id) and forget_failure(id) then
    gone = gone + 1
    book(lane_of(id), 'failed', -1, 'discarded', 1)
  end
end
if gone > 0 then redis.call('INCR', k('version')) end
return gone
