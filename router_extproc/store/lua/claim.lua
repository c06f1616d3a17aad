-- Gives a name to whoever asks first, and again to a caller who did not hear the answer.
--
-- KEYS: the name's
-- ARGV: token of the caller, until when it is taken (ms), now (ms)

local taken = redis.call('GET', KEYS[1])
if taken then
  local token, ends = string.match(taken, '^(%S+) (%d+)$')
  if tonumber(ends) > tonumber(ARGV[3]) then
    return token == ARGV[1] and 1 or 0
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', math.max(1, tonumber(ARGV[2]) - tonumber(ARGV[3])))
return 1
