-- Gives back what one call set aside, unless another call has taken it over since.
--
-- KEYS: for each counter: held, ends
-- ARGV: reservation, call

for counter = 1, #KEYS / 2 do
  local held, ends = KEYS[counter * 2 - 1], KEYS[counter * 2]
  local value = redis.call('HGET', held, ARGV[1])
  if value and string.match(value, '^%d+ (.*)$') == ARGV[2] then
    give_back(held, ends, { ARGV[1] })
  end
end
return 1
