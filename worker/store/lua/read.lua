-- Read elements of a list from a place on, as many as fit into so many bytes; the first one always fits. Writes nothing.
-- ARGV: list, place of the first element, most elements, most bytes.
-- Returns the elements.
local at, last, left = tonumber(ARGV[2]), ARGV[2] + ARGV[3] - 1, tonumber(ARGV[4])
local found = {}
while at <= last do
  local part = redis.call('LRANGE', k(ARGV[1]), at, math.min(at + 31, last))
  if #part == 0 then break end
  for _, element in ipairs(part) do
    left = left - #element
    if left < 0 and #found > 0 then return found end
    found[#found + 1] = element
  end
  at = at + #part
end
return found
