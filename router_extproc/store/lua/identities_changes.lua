-- What changed since an instance asked last.
--
-- KEYS: state, records, changed, audits
-- ARGV: how far the instance has come, most records to return
-- Returns 1 where the instance has to bring what it has first, else 0; how far changes have come; then for each record:
-- field, JSON, sequence number.

local known = ARGV[1]
local epoch = redis.call('HGET', KEYS[1], 'epoch')
local is_behind = not epoch or not is_current(KEYS[1]) or tonumber(known) < tonumber(epoch)
local answer = { is_behind and 1 or 0, redis.call('HGET', KEYS[1], 'sequence') or '0' }
local found = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. known, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for place = 1, #found, 2 do
  local value = redis.call('HGET', KEYS[2], found[place])
  answer[#answer + 1] = found[place]
  answer[#answer + 1] = string.match(value, '^%d+ (.*)$')
  answer[#answer + 1] = found[place + 1]
end
return answer
