-- Put in front of common.lua. KEYS[1] is the base of a destination or of an account; keys.py lists what lies under it.
--
-- Redis undoes nothing: a script that fails between two writes leaves a record in two places, or in none. So each script
-- looks first at all that can be wrong with its arguments and its keys. If something is wrong it ends with an error here,
-- before its first write. No error quotes a value.
local base = KEYS[1]
local function k(name) return base .. name end

-- Whole numbers are exact up to 2^53.
local MOST_EXACT = 9007199254740992
-- The command that fails, and changes nothing, where a key is of another type.
local LENGTH_OF = {string = 'STRLEN', hash = 'HLEN', list = 'LLEN', zset = 'ZCARD'}

local function refuse(what) error('nothing was written: ' .. what) end

-- A whole number out of an argument or a plan, no less than `least`. `-0`, which HINCRBY refuses, becomes 0.
local function whole(value, least)
  local number = tonumber(value)
  if not number or number % 1 ~= 0 or number > MOST_EXACT or number < (least or -MOST_EXACT) then
    refuse('an argument is not a whole number within its range')
  end
  return number + 0
end

-- So many texts, as HSET takes them.
local function check_texts(values, count)
  for at = 1, count do
    if type(values[at]) ~= 'string' then refuse('what should be a text is none') end
  end
end

-- A number out of a field: nil where there is none.
local function number_in(value) return type(value) == 'string' and tonumber(value) or nil end

-- A whole number as digits: the `..` of Lua writes 1e+15.
local function digits(number) return string.format('%d', number) end

-- Keys that are there are of this type.
local function check_type(kind, ...)
  for _, name in ipairs({...}) do redis.call(LENGTH_OF[kind], k(name)) end
end

-- Whether HINCRBY or INCRBY may change a value: there is none, or it is a whole number that is exact in Lua.
local function is_counter(value)
  return not value or (#value <= 15 and (value == '0' or string.find(value, '^%-?[1-9]%d*$') ~= nil))
end

local function check_counter(value)
  if not is_counter(value) then refuse('a counter is not a whole number') end
end

-- Strings that INCR and INCRBY may change.
local function check_counters(...)
  for _, name in ipairs({...}) do check_counter(redis.call('GET', k(name))) end
end

-- Fields of a hash that HINCRBY may change.
local function check_fields(name, ...)
  for _, value in ipairs(redis.call('HMGET', k(name), ...)) do check_counter(value) end
end

-- The hash of a lane's counters, for book().
local function check_books(lane) check_fields('books:' .. lane, unpack(COUNTERS)) end

-- The keys of failed records, for record_failure() and forget_failure().
local function check_failures()
  check_type('hash', 'failures', 'failures:digests', 'failures:by_digest')
  check_type('zset', 'failures:by_time')
end

-- Record ids such as `newsletter:17`, and the keys of their lanes. `checked` are lanes that need no further look.
local function check_ids(ids, checked)
  checked = checked or {}
  for _, id in ipairs(ids) do
    local lane = string.match(id, '^(.+):%d+$')
    if not lane then refuse('an argument is not a record id') end
    if not checked[lane] then
      check_books(lane)
      check_type('zset', 'retry:' .. lane)
      checked[lane] = true
    end
  end
end

-- What steady() writes about once a second.
local function check_clock()
  check_counters('clock_offset', 'clock_setback', 'clock_last')
  check_type('hash', 'lanes')
end

-- What release() needs.
local function check_release(root)
  check_type('string', 'batch:' .. root .. ':digests')
  check_type('hash', 'inflight')
  check_type('zset', 'quarantine')
  check_counters('version', 'released')
end
