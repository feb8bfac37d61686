-- KEYS: cursor convs heads sizes, then the stream of each pack
-- ARGV: epoch expected-last new-last, then for each pack: member seq idx n first-at last-at first-seq pack
local cursor = redis.call('HMGET', KEYS[1], 'epoch', 'last')
if cursor[1] ~= ARGV[1] or cursor[2] ~= ARGV[2] then
  return 0
end
local events, bytes = 0, 0
for i = 5, #KEYS do
  local a = 4 + (i - 5) * 8
  local member, seq, n, pack = ARGV[a], ARGV[a + 1], ARGV[a + 3], ARGV[a + 7]
  redis.call('XADD', KEYS[i], seq .. '-' .. ARGV[a + 2],
    'p', pack, 'n', n, 'f', ARGV[a + 4], 'r', ARGV[a + 5], 's', ARGV[a + 6])
  redis.call('ZADD', KEYS[2], seq, member)
  redis.call('ZADD', KEYS[3], 'NX', ARGV[a + 4], member)
  redis.call('ZINCRBY', KEYS[4], n, member)
  events = events + tonumber(n)
  bytes = bytes + #pack
end
redis.call('HSET', KEYS[1], 'last', ARGV[3])
if events > 0 then
  redis.call('HINCRBY', KEYS[1], 'events', events)
  redis.call('HINCRBY', KEYS[1], 'bytes', bytes)
end
return 1
