-- In which counters reservations have something set aside, or which reservations have something in counters.
--
-- KEYS: of, for each reservation, or held, for each counter
-- ARGV: nothing
-- Returns for each its counters, or reservations and the name of the sum.

local answer = {}
for place = 1, #KEYS do
  answer[place] = redis.call('HKEYS', KEYS[place])
end
return answer
