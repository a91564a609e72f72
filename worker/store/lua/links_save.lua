-- Remember which identifiers belong to one contact (see packing/links.py).
-- ARGV: most digests in `links`, time to live in ms, then pairs of a digest and its marks.
-- A full hash becomes `links:old` and replaces the one before it: at most twice as many digests are kept.
local pairs_of = {}
for at = 3, #ARGV do pairs_of[#pairs_of + 1] = ARGV[at] end
if redis.call('HLEN', k('links')) >= tonumber(ARGV[1]) then redis.call('RENAME', k('links'), k('links:old')) end
each('HSET', k('links'), pairs_of)
redis.call('PEXPIRE', k('links'), ARGV[2])
return 'ok'
