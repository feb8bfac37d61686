-- KEYS: cursor convs, then the set of each duplicate
-- ARGV: epoch after through, then for each duplicate: member seq position
-- Returns -2 without a cursor, the cursor's checked when it is below after, else -1.
local cursor = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'checked')
if cursor[1] ~= ARGV[1] then
  return '-2'
end
local checked = tonumber(cursor[3])
if checked < tonumber(ARGV[2]) then
  return cursor[3]
end
local last = tonumber(cursor[2])
for i = 3, #KEYS do
  local a = 4 + (i - 3) * 3
  local member, ahead = ARGV[a], tonumber(ARGV[a + 1]) > last
  -- Skip a conversation that was trimmed away: its duplicates went with it. Register one whose event is
  -- not written yet, so that its set is removed with the conversation.
  if ahead then
    redis.call('ZADD', KEYS[2], 'NX', 0, member)
  end
  if ahead or redis.call('ZSCORE', KEYS[2], member) then
    redis.call('SADD', KEYS[i], ARGV[a + 2])
  end
end
if tonumber(ARGV[3]) > checked then
  redis.call('HSET', KEYS[1], 'checked', ARGV[3])
end
return '-1'
