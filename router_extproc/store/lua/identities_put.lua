-- Makes changes that belong together.
--
-- KEYS: state, records, changed, audits
-- ARGV: how far the caller has come, how many audit entries are kept, then for each change: field, JSON
-- Returns nil where the caller has to bring what it has first.

local known, most = tonumber(ARGV[1]), tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 and known == 0 then
  begin_epoch(KEYS[1])
elseif not is_current(KEYS[1]) or known < tonumber(redis.call('HGET', KEYS[1], 'epoch')) then
  return nil
end
for place = 3, #ARGV - 1, 2 do
  put(KEYS, ARGV[place], nil, ARGV[place + 1], most)
end
return 1
