-- Remember which identifiers belong to one contact (see packing/links.py).
-- ARGV: most digests in `links`, time to live in ms, then pairs of a digest and its marks.
-- A full hash becomes `links:old` and replaces the one before it: at most twice as many digests are kept.
local most, lives_ms, pairs_of = whole(ARGV[1], 1), digits(whole(ARGV[2], 1)), {}
if #ARGV % 2 == 1 then refuse('a digest has no marks') end
check_type('hash', 'links', 'links:old')
redis.call('DEL', k('wakeup:none')) -- runs with full memory, and lets what follows run
for at = 3, #ARGV do pairs_of[#pairs_of + 1] = ARGV[at] end
if redis.call('HLEN', k('links')) >= most then redis.call('RENAME', k('links'), k('links:old')) end
each('HSET', k('links'), pairs_of)
redis.call('PEXPIRE', k('links'), lives_ms)
return 'ok'
