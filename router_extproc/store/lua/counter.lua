-- What a counter is made of, and what every script needs; stands before each of them.
--
-- settled  hash: where a part of the window begins (epoch seconds) -> what all instances have settled in it
-- told     hash: "PART INSTANCE" -> the total which that instance told last; settled is their sum
-- held     hash: reservation -> "AMOUNT CALL BEFORE", and "" -> the sum of the amounts; BEFORE is what was there before that
--          call, and is missing where nothing was
-- ends     sorted set: reservation -> when it expires (epoch milliseconds)
--
-- of       hash for each reservation: the counters in which it has something set aside, for who knows only its name. It goes
--          with the last of them, or expires with the reservation.
--
-- ready    says that this very process has been told all totals: "RUN_ID:SINCE". A server that was started again, emptied,
--          or has taken over from another has a different run id or no such key, and knows less than it should.
-- The last argument of every script is the run id of the process that answers, as the connection knows it.
-- Amounts stay below 2^53, where Lua's numbers are exact. Texts of amounts are passed on as they came: Lua writes large
-- numbers with an exponent.

local function run_id()
  return ARGV[#ARGV]
end

local function is_ready(key)
  local ready = redis.call('GET', key)
  return ready and string.match(ready, '^%x+') == run_id()
end

local function amount_of(value)
  return tonumber(string.match(value, '^%d+'))
end

-- What a key of this kind is named after: a counter, or a reservation.
local function name_in(key, kind)
  return string.match(key, '}:' .. kind .. ':(.*)$')
end

-- Takes reservations out; those that are not there are no error. Empty counters leave nothing behind.
local function give_back(held, ends, reservations)
  local amount, found = 0, {}
  for _, reservation in ipairs(reservations) do
    local value = redis.call('HGET', held, reservation)
    if value then
      amount = amount + amount_of(value)
      redis.call('HDEL', held, reservation)
    end
    redis.call('ZREM', ends, reservation)
  end
  if redis.call('ZCARD', ends) == 0 then
    redis.call('DEL', held)
  elseif amount > 0 then
    redis.call('HINCRBY', held, '', -amount)
  end
end

-- The sum of what is set aside, without what has expired by now (epoch milliseconds).
local function held_at(held, ends, now)
  repeat
    local expired = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)
    if #expired > 0 then
      give_back(held, ends, expired)
    end
  until #expired < 1000
  return tonumber(redis.call('HGET', held, '') or 0)
end

-- The parts that begin at since or later, as {begins, amount}, and their sum.
local function settled_since(settled, since)
  local parts, sum = {}, 0
  local fields = redis.call('HGETALL', settled)
  for place = 1, #fields, 2 do
    local begins, amount = tonumber(fields[place]), tonumber(fields[place + 1])
    if begins >= since then
      parts[#parts + 1] = { begins, amount }
      sum = sum + amount
    end
  end
  return parts, sum
end

-- Makes a key live for at least so many milliseconds; a key that lives longer already is left alone.
local function keep_alive(key, milliseconds)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, string.format('%.0f', milliseconds * 1.1 + 60000))
  end
end
