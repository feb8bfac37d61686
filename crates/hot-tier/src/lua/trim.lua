#!lua flags=allow-oom
-- KEYS: cursor convs heads sizes floors stream duplicates
-- ARGV: epoch member older-than max-events (-1: unlimited) sealed
-- Returns the number of events removed by age and by count, and 1 to call again (256 entries a call).
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return {0, 0, 0}
end
local member, older_than = ARGV[2], tonumber(ARGV[3])
local max_events, sealed = tonumber(ARGV[4]), tonumber(ARGV[5])
local size = tonumber(redis.call('ZSCORE', KEYS[4], member) or '0')
local by_age, by_count, bytes, cut, budget = 0, 0, 0, nil, 256
local from, head = '-', nil

local function fields(entry)
  local map = {}
  for i = 1, #entry[2], 2 do
    map[entry[2][i]] = entry[2][i + 1]
  end
  return map
end

while not head do
  local entries = redis.call('XRANGE', KEYS[6], from, '+', 'COUNT', 8)
  if #entries == 0 then
    break
  end
  for _, entry in ipairs(entries) do
    local map, seq = fields(entry), tonumber(string.match(entry[1], '^%d+'))
    local n, old = tonumber(map.n), tonumber(map.r) < older_than
    local many = max_events >= 0 and size - n >= max_events
    if budget == 0 or seq > sealed or not (old or many) then
      head = { id = entry[1], at = map.f }
      break
    end
    if old then by_age = by_age + n else by_count = by_count + n end
    size, bytes, cut, budget = size - n, bytes + #map.p, seq, budget - 1
    from = '(' .. entry[1]
  end
end

-- Removes the duplicates up to seq; returns whether any is left.
local function remove_duplicates(seq)
  local left = false
  for _, position in ipairs(redis.call('SMEMBERS', KEYS[7])) do
    if tonumber(string.match(position, '^%d+')) <= seq then
      redis.call('SREM', KEYS[7], position)
    else
      left = true
    end
  end
  return left
end

if not head then
  redis.call('UNLINK', KEYS[6])
  redis.call('ZREM', KEYS[3], member)
  redis.call('ZREM', KEYS[4], member)
  -- Keep the duplicates of events that are not written yet.
  if remove_duplicates(tonumber(redis.call('HGET', KEYS[1], 'last'))) then
    redis.call('ZADD', KEYS[2], 'XX', 0, member)
  else
    redis.call('ZREM', KEYS[2], member)
  end
elseif cut then
  redis.call('XTRIM', KEYS[6], 'MINID', '=', head.id)
  redis.call('ZADD', KEYS[3], head.at, member)
  redis.call('ZADD', KEYS[4], size, member)
  remove_duplicates(cut)
end
if cut then
  redis.call('ZADD', KEYS[5], 'GT', cut + 1, member)
  redis.call('HINCRBY', KEYS[1], 'events', -(by_age + by_count))
  redis.call('HINCRBY', KEYS[1], 'bytes', -bytes)
end
return {by_age, by_count, (head and budget == 0) and 1 or 0}
