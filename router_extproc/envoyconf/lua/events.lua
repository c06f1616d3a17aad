-- Keeps from Envoy what ends it: a server-sent event whose data are a bare JSON number, string, true, false or null.
--
-- Envoy 1.40 reads usage from events (sse_to_metadata), and dies of data that are JSON and neither object nor list. No API
-- of OpenAI's kind has such events, and none of its clients could use one: the line becomes a comment, which all ignore.
--
-- Rules of this file
-- * An unfinished line that may become such data is held back until it ends, for nobody can read half a line. One that is
--   held for too long becomes a comment before it ends. All others pass as they come.
-- * Lines end with CR, LF or both, and the first may begin with a byte order mark.

local LEFT_OUT = ": data that were no object"
local LONGEST_HELD = 4096
local LITERALS = { ["true"] = true, ["false"] = true, ["null"] = true }

-- A line of data, after what ends the line before, that may be a bare value.
local MARK = "\239?\187?\191?"
local SUSPICIOUS = MARK .. 'data:[ \t]*[-%d"tfn]'
local SUSPICIOUS_LINE = "([\r\n]" .. MARK .. ')data:[ \t]*([-%d"tfn][^\r\n]*)%f[\r\n]'

local function is_bare(value)
  value = string.match(value, "^(.-)[ \t]*$")
  return LITERALS[value] ~= nil or tonumber(value) ~= nil or string.find(value, '^".*"$') ~= nil
end

local function left_out(before, value)
  if is_bare(value) then return before .. LEFT_OUT end
  return nil
end

-- Whether an unfinished line may end as data that are a bare value.
local function may_become_bare(line)
  line = string.gsub(line, "^" .. MARK, "")
  local value = string.match(line, "^data:[ \t]*(.*)$")
  if value == nil then return line == string.sub("data:", 1, #line) end
  if value == "" or string.find(value, '^"') ~= nil or string.find(value, "^[-%d][-+.%deE]*[ \t]*$") ~= nil then
    return true
  end
  local word = string.match(value, "^(%l+)[ \t]*$")
  if word == nil then return false end
  for literal in pairs(LITERALS) do
    if word == string.sub(literal, 1, #word) then return true end
  end
  return false
end

-- What is remembered of an answer between its chunks: what is held back, and whether that or the next byte begins a line.
local function new_events()
  return { held = "", begins_line = true }
end

-- What of a chunk may go on now, with what was held back before; `is_last` when nothing follows.
local function pass_events(events, chunk, is_last)
  -- Most chunks are whole lines of objects.
  if events.held == "" and not is_last and string.find(chunk, "[\r\n]$") ~= nil
      and string.find(chunk, "^" .. SUSPICIOUS) == nil and string.find(chunk, "[\r\n]" .. SUSPICIOUS) == nil then
    events.begins_line = true
    return chunk
  end
  local text = (events.begins_line and "\n" or " ") .. events.held .. chunk
  text = string.gsub(is_last and text .. "\n" or text, SUSPICIOUS_LINE, left_out)
  if is_last then return string.sub(text, 2, -2) end
  local line_end = string.find(text, "[\r\n][^\r\n]*$")
  local line = line_end ~= nil and string.sub(text, line_end + 1) or nil
  events.held, events.begins_line = "", line == ""
  if line == nil or line == "" or not may_become_bare(line) then return string.sub(text, 2) end
  if #line > LONGEST_HELD then return string.sub(text, 2, line_end) .. ":" .. line end
  events.held, events.begins_line = line, true
  return string.sub(text, 2, line_end)
end
