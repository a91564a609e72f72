-- A person closes the breaker of an account: everything is tried again at once. KEYS[1] is the base of the account.
-- Returns 1 if it was open, else 0.
check_type('hash', 'breaker', 'outage')
local now = steady()
local was_open = redis.call('HGET', k('breaker'), 'open_until')
redis.call('DEL', k('breaker')) -- runs with full memory, and lets what follows run
if not was_open then return 0 end
redis.call('HSET', k('outage'), 'ended', now)
return 1
