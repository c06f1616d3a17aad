-- Says whether this server knows all totals. One that is new, emptied, or took over waits for a moment first, so that every
-- instance can tell its totals again, and longer while one says that it is still at it.
--
-- KEYS: ready, recovery, telling
-- ARGV: moment (ms), for how long somebody will be telling (ms; 0: nobody), longest wait (ms)
-- Returns 1 or 0, and the text that names this memory of the totals: another text, another memory.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[3], 1, 'PX', ARGV[2])
end
local ready = redis.call('GET', KEYS[1])
local run = run_id()
if ready and string.match(ready, '^%x+') == run then
  return { 1, ready }
end
local recovery = redis.call('GET', KEYS[2])
if not recovery or string.match(recovery, '^%x+') ~= run then
  recovery = run .. ':' .. string.format('%.0f', now)
  redis.call('SET', KEYS[2], recovery)
end
local waited = now - tonumber(string.match(recovery, ':(%d+)$'))
local is_told = waited >= tonumber(ARGV[1]) and redis.call('EXISTS', KEYS[3]) == 0
if is_told or waited >= tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], recovery)
  redis.call('DEL', KEYS[2])
  return { 1, recovery }
end
return { 0, recovery }
