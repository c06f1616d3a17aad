-- Makes changes that belong together.
--
-- KEYS: state, records, changed, audits
-- ARGV: how far the caller has come, how many audit entries are kept, then for each change: field, JSON
-- Returns nil where the caller has to bring what it has first, or where somebody changed one of the keys since: to put what was
-- made of an older version would undo that, and a key that was revoked would be accepted again.

local known, most = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 and known == 0 then
  begin_epoch(KEYS[1])
elseif not is_current(KEYS[1]) or known < tonumber(redis.call('HGET', KEYS[1], 'epoch')) then
  return nil
end
for place = 3, #ARGV - 1, 2 do
  local changed = string.sub(ARGV[place], 1, 4) == 'key ' and redis.call('ZSCORE', KEYS[3], ARGV[place])
  if changed and tonumber(changed) > known then return nil end
end
for place = 3, #ARGV - 1, 2 do
  put(KEYS, ARGV[place], nil, ARGV[place + 1], most)
end
return 1
