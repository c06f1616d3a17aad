-- Tries every command that the other scripts use, on a key that is gone afterwards.
--
-- KEYS: a key for the trial
-- ARGV: nothing
-- Returns the version of the server, its time (ms), how it evicts, and the commands that may not be used. Where it takes no
-- writes for now: an empty text, and why.

local key = KEYS[1]
local commands = {
  { 'time' },
  { 'set', key, '1', 'PX', '1000' }, { 'get', key }, { 'exists', key }, { 'pttl', key }, { 'pexpire', key, '1000' },
  { 'del', key },
  { 'hset', key, 'a', '1' }, { 'hget', key, 'a' }, { 'hincrby', key, 'a', '1' }, { 'hgetall', key }, { 'hkeys', key },
  { 'hdel', key, 'a' }, { 'del', key },
  { 'zadd', key, '1', 'a' }, { 'zcard', key }, { 'zrangebyscore', key, '-inf', '+inf' }, { 'zscore', key, 'a' },
  { 'zrem', key, 'a' },
  { 'del', key },
  { 'lpush', key, 'a' }, { 'llen', key }, { 'rpop', key }, { 'del', key },
}
-- A replica, a server without memory, one that cannot save or lacks replicas: nobody's rights are at fault.
local for_now = {
  'READONLY', 'OOM ', 'MISCONF', 'NOREPLICAS', 'MASTERDOWN',
}
local info = redis.pcall('info')
local failed = {}
if type(info) == 'table' then
  failed[1], info = 'info', ''
end
local seen = {}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err and not seen[command[1]] then
    for _, word in ipairs(for_now) do
      -- Before Redis 7 the word stands behind the name of the script.
      local place = string.find(answer.err, word, 1, true)
      if place then
        return { '', string.sub(answer.err, place) }
      end
    end
    seen[command[1]] = true
    failed[#failed + 1] = command[1]
  end
end
local time = redis.pcall('time')
local now = time.err and '0' or string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local policy = string.match(info, 'maxmemory_policy:(%S+)') or ''
local limit = tonumber(string.match(info, 'maxmemory:(%d+)') or '0')
return { string.match(info, 'redis_version:(%S+)') or '', now, limit > 0 and policy or 'noeviction', unpack(failed) }
