-- Keys, raises and audit entries, of which every instance has a copy; stands before the scripts that change them.
--
-- state    hash: run (id of the server process), epoch and sequence (microseconds since 1970, then counted on)
-- records  hash: "KIND ID" -> "VERSION JSON"
-- changed  sorted set: "KIND ID" -> the sequence number of its last change
-- audits   list: "audit ID" of the entries that are kept, the newest first
--
-- The last argument of every script is the run id of the process that answers, as the connection knows it.
--
-- An epoch begins when the server process is another one than before, or has nothing: then what it knows may be old, and
-- every instance brings what it has. Sequence numbers begin at the time, so that they are higher than all before; what an
-- instance brings has the sequence number it had come to as its version, so the newest copy wins, and a change of the new
-- epoch wins over all copies.

local function server()
  return ARGV[#ARGV]
end

local function is_current(state)
  return redis.call('HGET', state, 'run') == server()
end

local function begin_epoch(state)
  local time = redis.call('TIME')
  local epoch = time[1] .. string.format('%06d', tonumber(time[2]))
  redis.call('HSET', state, 'run', server(), 'epoch', epoch, 'sequence', epoch)
  return epoch
end

local function put(keys, field, version, json, most_audits)
  local state, records, changed, audits = keys[1], keys[2], keys[3], keys[4]
  local sequence = redis.call('HINCRBY', state, 'sequence', 1)
  local is_new = redis.call('HSET', records, field, (version or string.format('%.0f', sequence)) .. ' ' .. json) == 1
  redis.call('ZADD', changed, sequence, field)
  if is_new and string.sub(field, 1, 6) == 'audit ' then
    redis.call('LPUSH', audits, field)
    while redis.call('LLEN', audits) > most_audits do
      local oldest = redis.call('RPOP', audits)
      redis.call('HDEL', records, oldest)
      redis.call('ZREM', changed, oldest)
    end
  end
  return sequence
end
