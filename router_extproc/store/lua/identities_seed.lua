-- Takes what an instance has, where it is newer than what is here; a server that is new to it begins an epoch.
--
-- KEYS: state, records, changed, audits
-- ARGV: how far the instance has come, how many audit entries are kept, then for each record: field, JSON

local version, most = ARGV[1], tonumber(ARGV[2])
if not is_current(KEYS[1]) then
  begin_epoch(KEYS[1])
end
for place = 3, #ARGV - 1, 2 do
  local here = redis.call('HGET', KEYS[2], ARGV[place])
  if not here or tonumber(string.match(here, '^%d+')) < tonumber(version) then
    put(KEYS, ARGV[place], version, ARGV[place + 1], most)
  end
end
return 1
