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
