-- KEYS: cursor convs heads sizes floors guard
-- ARGV: epoch floor prefix-of-packs prefix-of-duplicates
-- Returns 'MORE' while data of an older epoch is left to clear (500 conversations a call), 'NEWER' when
-- the tier holds a later epoch, else 'OK'.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch == ARGV[1] then
  return 'OK'
end
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then
  return 'NEWER'
end
redis.call('DEL', KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
local old = redis.call('ZRANGE', KEYS[2], 0, 499)
for _, member in ipairs(old) do
  redis.call('UNLINK', ARGV[3] .. member, ARGV[4] .. member)
  redis.call('ZREM', KEYS[2], member)
end
if #old > 0 then
  return 'MORE'
end
local last = string.format('%.0f', tonumber(ARGV[2]) - 1)
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'last', last, 'floor', ARGV[2], 'checked', last,
  'events', 0, 'bytes', 0)
redis.call('SET', KEYS[6], last)
return 'OK'
