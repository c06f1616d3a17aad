-- In which counters reservations have something set aside.
--
-- KEYS: of, for each reservation
-- ARGV: nothing
-- Returns for each reservation its counters.

local answer = {}
for place = 1, #KEYS do
  answer[place] = redis.call('HKEYS', KEYS[place])
end
return answer
