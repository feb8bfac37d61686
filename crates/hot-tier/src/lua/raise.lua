#!lua flags=allow-oom
-- KEYS: cursor heads floors
-- ARGV: epoch prefix-of-packs
-- The new floor is the first sequence of the conversation with the oldest event. Floors of
-- conversations at or below it are removed, as they no longer matter.
local cursor = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'floor')
if cursor[1] ~= ARGV[1] then
  return
end
local floor = tonumber(cursor[2]) + 1
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)
if #oldest > 0 then
  local entry = redis.call('XRANGE', ARGV[2] .. oldest[1], '-', '+', 'COUNT', 1)[1]
  if not entry then
    return
  end
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 's' then
      floor = tonumber(entry[2][i + 1])
    end
  end
end
if floor > tonumber(cursor[3]) then
  redis.call('HSET', KEYS[1], 'floor', string.format('%.0f', floor))
else
  floor = tonumber(cursor[3])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', floor)
