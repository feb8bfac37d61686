-- KEYS: cursor guard
-- ARGV: epoch expected-last new-last floor
-- Returns 1, or 0 when the cursor is not at expected-last.
local cursor = redis.call('HMGET', KEYS[1], 'epoch', 'last')
if cursor[1] ~= ARGV[1] or cursor[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'last', ARGV[3], 'floor', ARGV[4])
redis.call('SET', KEYS[2], ARGV[3])
return 1
