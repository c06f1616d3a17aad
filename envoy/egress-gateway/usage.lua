-- Takes the event away by which a provider reports a stream's usage, where the router asked for it and the client did not.
--
-- Rules of this file
-- * It runs only for event streams whose request says so, after the filters that read the usage.
-- * Every other byte passes as it came, and no event waits for the next one.

-- What is longer than this without an event's end is no usage report: it is passed on in pieces.
local MOST_HELD_BYTES = 65536

-- The place after the next event of `text` from `first` on: after the empty line that ends it. nil when its end has not come.
local function event_end(text, first)
  local position = first
  while true do
    position = string.find(text, "\n", position, true)
    if position == nil then return nil end
    local after = string.match(text, "^\r?\n()", position + 1)
    if after ~= nil then return after end
    position = position + 1
  end
end

-- Whether an event has usage and nothing else. Text of a model cannot look like it: its quotes are escaped.
local function is_usage_only(event)
  return string.find(event, '"choices"%s*:%s*%[%s*%]') ~= nil and string.find(event, '"usage"%s*:%s*{') ~= nil
end

-- The complete events of `text` that the client may see, and what of it is not complete yet.
local function split(text)
  local shown, first = {}, 1
  while true do
    local after = event_end(text, first)
    if after == nil then break end
    local event = string.sub(text, first, after - 1)
    if not is_usage_only(event) then shown[#shown + 1] = event end
    first = after
  end
  local rest = string.sub(text, first)
  if #rest > MOST_HELD_BYTES then
    shown[#shown + 1], rest = rest, ""
  end
  return table.concat(shown), rest
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local encoding = headers:get("content-encoding")
  if encoding ~= nil and encoding ~= "identity" then return end
  headers:remove("content-length")
  local rest, last = "", nil
  for chunk in handle:bodyChunks() do
    local shown
    shown, rest = split(rest .. chunk:getBytes(0, chunk:length()))
    chunk:setBytes(shown)
    last = chunk
  end
  if last ~= nil and rest ~= "" and not is_usage_only(rest) then last:setBytes(last:getBytes(0, last:length()) .. rest) end
end
