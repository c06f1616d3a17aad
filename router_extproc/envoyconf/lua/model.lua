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

