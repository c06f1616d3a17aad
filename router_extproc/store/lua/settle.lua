-- Takes over an instance's totals and gives back what was set aside for what they contain.
--
-- KEYS: for each counter: settled, told, held, ends; then of, for each reservation that is over
-- ARGV: instance, now (ms), number of counters, then for each counter: number of totals, each as part, amount, when it
--       is of no more interest (epoch seconds); number of reservations that are over, each
-- A total below the one told before came late, and changes nothing.

local instance, now, counters = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at = 3

local function next_argument()
  at = at + 1
  return ARGV[at]
end

-- Parts of windows that are over. A part counts as long as the one just told does.
local function forget(settled, told, seconds)
  for _, field in ipairs(redis.call('HKEYS', told)) do
    local part = string.match(field, '^%d+')
    if (tonumber(part) + seconds) * 1000 <= now then
      redis.call('HDEL', told, field)
      redis.call('HDEL', settled, part)
    end
  end
end

local function tell(settled, told, part, amount, expires)
  local remaining = tonumber(expires) * 1000 - now
  if remaining <= 0 then
    return
  end
  local field = part .. ' ' .. instance
  local before = redis.call('HGET', told, field)
  local difference = tonumber(amount) - tonumber(before or 0)
  if difference > 0 then
    redis.call('HSET', told, field, amount)
    redis.call('HINCRBY', settled, part, difference)
    keep_alive(told, remaining)
    keep_alive(settled, remaining)
    if not before then
      forget(settled, told, tonumber(expires) - tonumber(part))
    end
  end
end

local lists, names, told = {}, {}, {}
for place = counters * 4 + 1, #KEYS do
  local reservation = name_in(KEYS[place], 'of')
  lists[reservation], names[reservation] = KEYS[place], {}
end
for counter = 1, counters do
  for _ = 1, tonumber(next_argument()) do
    told[#told + 1] = { KEYS[counter * 4 - 3], KEYS[counter * 4 - 2], next_argument(), next_argument(), next_argument() }
  end
  local over = {}
  for place = 1, tonumber(next_argument()) do
    over[place] = next_argument()
    local those = names[over[place]]
    those[#those + 1] = name_in(KEYS[counter * 4 - 1], 'held')
  end
  if #over > 0 then
    give_back(KEYS[counter * 4 - 1], KEYS[counter * 4], over)
  end
end
for reservation, list in pairs(lists) do
  redis.call('HDEL', list, unpack(names[reservation]))
end
-- Last: a server without memory refuses a script's first command that needs some, and lets one go on that has begun to free it.
for _, total in ipairs(told) do
  tell(unpack(total))
end
return 1
