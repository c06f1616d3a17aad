-- Sets all amounts aside, or none. What is there already is raised where more is asked, and never becomes smaller.
--
-- KEYS: ready, of, then for each hold: settled, held, ends
-- ARGV: reservation, call, until (ms), now (ms), then for each hold: since, amount, limit, kind, seconds a part counts
-- Returns nil where not all totals are known; else for each hold: settled, held by others, what became of it, and when
-- enough will have left the window (epoch seconds; -1: no time can be told).

local SET, KEPT, REFUSED, BEYOND, RAISED, POSSIBLE = 1, 2, 3, 4, 5, 0

local function leaves_at(parts, missing, seconds)
  if missing <= 0 then
    return -1
  end
  table.sort(parts, function(one, other) return one[1] < other[1] end)
  for _, part in ipairs(parts) do
    missing = missing - part[2]
    if missing <= 0 then
      return part[1] + seconds
    end
  end
  return -1
end

if not is_ready(KEYS[1]) then
  return nil
end
local reservation, call, ends_at, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local answer, is_refused, own = {}, false, {}
local count = (#KEYS - 2) / 3
for hold = 1, count do
  local settled_key, held_key, ends_key = KEYS[hold * 3], KEYS[hold * 3 + 1], KEYS[hold * 3 + 2]
  local first = hold * 5
  local amount, limit, kind = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2]), ARGV[first + 3]
  local parts, settled = settled_since(settled_key, tonumber(ARGV[first]))
  local held, state, free_at = held_at(held_key, ends_key, now), POSSIBLE, -1
  local value = redis.call('HGET', held_key, reservation)
  own[hold] = value and amount_of(value)
  held = held - (own[hold] or 0)
  if own[hold] and amount <= own[hold] then
    state = KEPT
  elseif kind ~= 'count' and settled + held + amount > limit then
    state = kind == 'enforce' and REFUSED or own[hold] and KEPT or BEYOND
    is_refused = is_refused or state == REFUSED
    if state == REFUSED and amount <= limit then
      free_at = leaves_at(parts, settled + amount - limit, tonumber(ARGV[first + 4]))
    end
  end
  local place = hold * 4
  answer[place - 3], answer[place - 2], answer[place - 1], answer[place] = settled, held, state, free_at
end
if is_refused then
  return answer
end
local names = {}
for hold = 1, count do
  local held_key, ends_key, place = KEYS[hold * 3 + 1], KEYS[hold * 3 + 2], hold * 4
  local amount = ARGV[hold * 5 + 1]
  local before = own[hold] and string.format('%.0f', own[hold])
  -- Whoever asked before may have given up, and must not take away what is this caller's now.
  local mark = before and call .. ' ' .. before or call
  if answer[place - 1] == POSSIBLE then
    redis.call('HSET', held_key, reservation, amount .. ' ' .. mark)
    redis.call('HINCRBY', held_key, '', string.format('%.0f', tonumber(amount) - (own[hold] or 0)))
    if not before or tonumber(redis.call('ZSCORE', ends_key, reservation) or 0) < tonumber(ends_at) then
      redis.call('ZADD', ends_key, ends_at, reservation)
    end
    keep_alive(held_key, tonumber(ends_at) - tonumber(now))
    keep_alive(ends_key, tonumber(ends_at) - tonumber(now))
    names[#names + 1] = name_in(held_key, 'held')
    names[#names + 1] = ''
    answer[place - 1] = before and RAISED or SET
  elseif answer[place - 1] == KEPT then
    redis.call('HSET', held_key, reservation, before .. ' ' .. mark)
  end
end
if #names > 0 then
  redis.call('HSET', KEYS[2], unpack(names))
  keep_alive(KEYS[2], tonumber(ends_at) - tonumber(now))
end
return answer
