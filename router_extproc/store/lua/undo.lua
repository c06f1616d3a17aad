-- Gives back what one call set aside or added, unless another call has taken it over since. What was there before the call
-- stays: somebody else may count on it, and what nobody counts on expires.
--
-- KEYS: of, then for each counter: held, ends
-- ARGV: reservation, call

local reservation, call = ARGV[1], ARGV[2]
for counter = 1, (#KEYS - 1) / 2 do
  local held, ends = KEYS[counter * 2], KEYS[counter * 2 + 1]
  local value = redis.call('HGET', held, reservation)
  local last, before
  if value then
    last, before = string.match(value, '^%d+ (%S+) ?(%d*)$')
  end
  if last == call and before == '' then
    give_back(held, ends, { reservation })
    redis.call('HDEL', KEYS[1], name_in(held, 'held'))
  elseif last == call then
    local added = amount_of(value) - tonumber(before)
    if added > 0 then
      redis.call('HSET', held, reservation, before .. ' ' .. call .. ' ' .. before)
      redis.call('HINCRBY', held, '', string.format('%.0f', -added))
    end
  end
end
return 1
