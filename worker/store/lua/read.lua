-- Elements of a list from a place on, as many as fit. ARGV: list, place of the first, most elements, most bytes (a single
-- element may be larger). Writes nothing.
local at, last, room = tonumber(ARGV[2]), ARGV[2] + ARGV[3] - 1, tonumber(ARGV[4])
local found = {}
while at <= last do
  local part = redis.call('LRANGE', k(ARGV[1]), at, math.min(at + 31, last))
  if #part == 0 then break end
  for _, element in ipairs(part) do
    room = room - #element
    if room < 0 and #found > 0 then return found end
    found[#found + 1] = element
  end
  at = at + #part
end
return found
