-- How full counters are.
--
-- KEYS: ready, then for each counter: settled, held, ends
-- ARGV: now (ms), then for each counter: since (epoch seconds)
-- Returns nil where not all totals are known; else for each counter: settled, held.

if not is_ready(KEYS[1]) then
  return nil
end
local answer = {}
for counter = 1, (#KEYS - 1) / 3 do
  local _, settled = settled_since(KEYS[counter * 3 - 1], tonumber(ARGV[counter + 1]))
  answer[counter * 2 - 1] = settled
  answer[counter * 2] = held_at(KEYS[counter * 3], KEYS[counter * 3 + 1], ARGV[1])
end
return answer
