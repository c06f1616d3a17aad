-- What instances found out about deployments, each saying its own; stands before the script that changes it.
--
-- words  hash: instance -> "VERSION TEXT"
-- seen   hash: instance -> when it was last here (ms, by this server's clock)
--
-- Whoever was not here for a while is forgotten, and so is everything where nobody comes any more.

local KEPT_MS = 60000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
