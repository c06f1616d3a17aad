-- Says what one instance found, and tells it what the others say.
--
-- KEYS: words, seen
-- ARGV: the instance, the version of its word, the word (empty: it said it before), after how many ms without a sign an
--       instance is forgotten, then for each other instance that it knows: name, version of the word
-- Returns whether its own word is here (1 or 0), then for each other instance: name, ms since its last sign, version, and its
-- word, empty where the caller knows that version.

local own, version, word, stale = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = now_ms()
local is_there = 1
if word ~= '' then
  redis.call('HSET', KEYS[1], own, version .. ' ' .. word)
else
  local here = redis.call('HGET', KEYS[1], own)
  if not here or string.match(here, '^%S+') ~= version then
    is_there = 0
  end
end
redis.call('HSET', KEYS[2], own, string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], KEPT_MS)
redis.call('PEXPIRE', KEYS[2], KEPT_MS)

local known = {}
for place = 5, #ARGV - 1, 2 do
  known[ARGV[place]] = ARGV[place + 1]
end
local answer = { is_there }
local seen = redis.call('HGETALL', KEYS[2])
for place = 1, #seen, 2 do
  local name, age = seen[place], now - tonumber(seen[place + 1])
  -- A server's clock may be set back.
  if math.abs(age) > stale then
    redis.call('HDEL', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
  elseif name ~= own then
    local said = redis.call('HGET', KEYS[1], name)
    if said then
      local its_version, its_word = string.match(said, '^(%S+) (.*)$')
      answer[#answer + 1] = name
      answer[#answer + 1] = math.max(0, age)
      answer[#answer + 1] = its_version
      answer[#answer + 1] = known[name] == its_version and '' or its_word
    end
  end
end
return answer
