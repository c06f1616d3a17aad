-- Finds the model that a body names, without reading the rest. The renderer puts this in front of the files that need it.

local QUOTE, BACKSLASH, OPEN_BRACE, OPEN_BRACKET = 34, 92, 123, 91

-- The end of the JSON string that starts at `first`: its closing quote, or nil.
local function string_end(json, first)
  local position = first + 1
  while true do
    local quote = string.find(json, '"', position, true)
    if quote == nil then return nil end
    local before = quote - 1
    while string.byte(json, before) == BACKSLASH do before = before - 1 end
    if (quote - before) % 2 == 1 then return quote end
    position = quote + 1
  end
end

local function is_model(name, in_any_case)
  return name == '"model"' or (in_any_case ~= nil and string.lower(name) == '"model"')
end

-- Where the string value of the top-level "model" starts and ends, quotes included; nil when there is none. `after` is where
-- the value of another member ended, to look for it behind that one, and then in any letter case.
-- It walks from quote to quote and bracket to bracket, so that 20 MiB cost milliseconds.
local function find_model(json, after)
  local position, depth = 1, 0
  if after ~= nil then position, depth = after + 1, 1 end
  while true do
    position = string.find(json, '["{}%[%]]', position)
    if position == nil then return nil end
    local character = string.byte(json, position)
    if character == QUOTE then
      local last = string_end(json, position)
      if last == nil then return nil end
      if depth == 1 and last - position == 6 and is_model(string.sub(json, position, last), after) then
        local value = string.match(json, "^%s*:%s*()", last + 1)
        if value ~= nil then
          if string.byte(json, value) ~= QUOTE then return nil end
          return value, string_end(json, value)
        end
      end
      position = last
    elseif character == OPEN_BRACE or character == OPEN_BRACKET then
      depth = depth + 1
    else
      depth = depth - 1
    end
    position = position + 1
  end
end


-- What becomes of a request that no worker decided, where such requests are refused: the route that Envoy then takes answers
-- 503 by itself, and this file lets through what the configuration allows.
--
-- Rules of this file
-- * It runs only without a ticket. It opens a door and closes none: where it fails, the request is refused.
-- * Its data is the route's metadata: "doors" says for names of models whether they may pass, one that ends in "*" for
--   all that begin like it, and "others" says it for the rest.

local ATTEMPT = "router.attempt"

-- What the body names as its model, or nil where it names none; false where it is written so that it cannot be compared.
local function named_model(handle)
  local body = handle:body()
  if body == nil or body:length() == 0 then return nil end
  local json = body:getBytes(0, body:length())
  if string.find(json, "^%s*{") == nil then return nil end
  local first, last = find_model(json)
  if last == nil then return nil end
  -- A provider may believe a second one, or one that is spelled with escapes.
  if find_model(json, last) ~= nil or string.find(json, "\\u00[4-7]") ~= nil then return false end
  local name = string.sub(json, first + 1, last - 1)
  return string.find(name, "\\", 1, true) == nil and name
end

local function may_pass(doors, others, model)
  if model == false then return false end
  if model ~= nil then
    if doors[model] ~= nil then return doors[model] end
    for length = #model, 0, -1 do
      local door = doors[string.sub(model, 1, length) .. "*"]
      if door ~= nil then return door end
    end
  end
  return others == true
end

function envoy_on_request(handle)
  local doors, others = handle:metadata():get("doors"), handle:metadata():get("others")
  if doors == nil then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(ATTEMPT, "degraded", "router-unavailable")
  metadata:set(ATTEMPT, "reason", "router_unavailable")
  if next(doors) == nil or not may_pass(doors, others, named_model(handle)) then return end
  handle:streamInfo():dynamicMetadata():set(ATTEMPT, "undecided", "allow")
  handle:clearRouteCache()
end
