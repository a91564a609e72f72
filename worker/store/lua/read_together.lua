-- Read several keys in one moment. Writes nothing. MULTI would do the same, but a Redis before 7.4 whose memory is full
-- refuses every command between MULTI and EXEC.
-- ARGV: for each command the number of its words, then its words: 2, LLEN, contact-ingest:{newsletter}:waiting:newsletter.
-- Returns the answers.
local answers, at = {}, 1
while at <= #ARGV do
  local words = whole(ARGV[at], 1)
  answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, at + words))
  at = at + words + 1
end
return answers
