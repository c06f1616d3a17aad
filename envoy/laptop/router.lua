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

-- What happens to every attempt inside Envoy, without Python. The same file for every configuration.
--
-- Rules of this file
-- * It knows no deployment: the filter before it ("prepare") writes the cluster's own data into x-router-* headers, the
--   filter after it removes them. The decision is the ticket: dynamic metadata "router", set by the route leg.
-- * Dynamic metadata lives as long as the request: "router.attempt" is what logs and response headers may read,
--   "router.state" is this file's own memory between attempts, "router.usage" counts what was received.
-- * After body() or a chunk, every object fetched before is dead: fetch it again.
-- * Times are milliseconds.

local TICKET, ATTEMPT, STATE, USAGE = "router", "router.attempt", "router.state", "router.usage"

-- Tells Envoy's router not to retry; Envoy removes it before the client sees it.
local FINAL = "x-envoy-ratelimited"

-- How providers say that the prompt is longer than the model's window.
local CONTEXT_LENGTH = {
  "context_length_exceeded", "maximum context length", "context window", "prompt is too long", "input is too long",
}

-- Statuses by which a provider turns our key down, not the caller's request.
local REFUSED = { [401] = "unauthorized", [402] = "unauthorized", [403] = "forbidden" }

local function error_body(message, kind, code)
  return '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":"' .. code .. '"}}'
end

-- Ends the request in place of the attempt that Envoy is about to make, and which therefore does not count.
local function refuse(handle, metadata, attempt, status, body)
  metadata:set(ATTEMPT, "attempts", tostring(attempt - 1))
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, body)
end

-- The ticket, or nil when no worker decided.
local function ticket_of(metadata)
  local ticket = metadata:get(TICKET)
  if ticket ~= nil and ticket["priority_groups"] ~= nil then return ticket end
  return nil
end

-- Whether another attempt would start too late. A stream has no overall timeout in Envoy, so an attempt that could
-- outlast the deadline is not begun.
local function is_too_late(ticket, started, now)
  local deadline = ticket["deadline_ms"] or 0
  if deadline <= 0 then return false end
  local needed = 0
  local attempt_timeout = ticket["attempt_timeout_ms"] or 0
  if ticket["stream"] and attempt_timeout < deadline then needed = attempt_timeout end
  return now - started + needed >= deadline
end

local function json_string(text)
  return '"' .. string.gsub(text, '["\\]', "\\%0") .. '"'
end

-- Without a ticket the body still says what the client wrote ("auto"): write what this provider knows.
local function replace_model(handle, provider_model)
  local body = handle:body()
  if body == nil or body:length() == 0 then return end
  local json = body:getBytes(0, body:length())
  if string.find(json, "^%s*{") == nil then return end
  local first, last = find_model(json)
  if last == nil then return end
  local length = body:setBytes(string.sub(json, 1, first - 1) .. json_string(provider_model) .. string.sub(json, last + 1))
  local headers = handle:headers()
  if headers:get("content-length") ~= nil then headers:replace("content-length", tostring(length)) end
end

-- Whether a reload gave this deployment another model id after the request was decided: the cluster knows better.
local function is_overtaken(ticket, attempt, provider_model)
  local sent = ticket["sent_model"]
  return attempt == 1 and sent ~= nil and sent ~= "" and sent ~= provider_model
end

-- The model's own name. A wildcard's cluster is called after the pattern; the ticket knows what was asked for.
local function model_name(ticket, pattern)
  if ticket == nil or pattern == nil or string.sub(pattern, -1) ~= "*" then return pattern end
  local prefix = string.sub(pattern, 1, -2)
  if ticket["wildcard"] ~= nil then return prefix .. ticket["wildcard"] end
  local first = ticket["first"]
  if first ~= nil and string.sub(first, 1, #prefix) == prefix then return first end
  return pattern
end

-- What logs and response headers say about the attempt that runs now.
local function report(metadata, headers, ticket, attempt)
  local before = metadata:get(ATTEMPT)
  if attempt > 1 and before ~= nil and before["fallback_from"] == nil then
    metadata:set(ATTEMPT, "fallback_from", before["deployment"])
    metadata:set(ATTEMPT, "fallback_cause", before["cause"] or "no_answer")
    if before["cause"] == nil then metadata:set(ATTEMPT, "cause", "no_answer") end
  end
  local tried = before ~= nil and before["tried"] or {}
  tried[tostring(attempt)] = headers:get("x-router-deployment")
  metadata:set(ATTEMPT, "tried", tried)
  metadata:set(ATTEMPT, "deployment", headers:get("x-router-deployment"))
  metadata:set(ATTEMPT, "model", model_name(ticket, headers:get("x-router-model")))
  metadata:set(ATTEMPT, "tier", headers:get("x-router-tier"))
  if ticket == nil then
    metadata:set(ATTEMPT, "degraded", "router-unavailable")
    metadata:set(ATTEMPT, "reason", "default_chain")
    metadata:set(ATTEMPT, "route", "default")
  end
end

-- For whoever settles: an answer that was turned down, or waited for in vain, may have to be paid.
local function note_cause(metadata, attempt, cause)
  local causes = metadata:get(ATTEMPT)["causes"] or {}
  causes[tostring(attempt)] = cause
  metadata:set(ATTEMPT, "causes", causes)
end

-- Envoy's timers go by the time at which its loop last woke: on a busy machine they end earlier than what is measured here.
local TIMER_SLACK = 250

-- Says of an attempt that nobody has named a cause for that its time ended. Envoy tells nobody why it makes another one: the
-- clock must. A connection that broke in the last moment or took longer than that to fail looks the same.
local function note_timeout(metadata, ticket, state, attempt, now)
  local causes = metadata:get(ATTEMPT)["causes"]
  local timeout = ticket["attempt_timeout_ms"] or 0
  if timeout <= 0 or now - state["attempt_started"] < timeout - math.min(TIMER_SLACK, timeout / 2) then return end
  if causes == nil or causes[tostring(attempt)] == nil then note_cause(metadata, attempt, "timeout") end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  local ticket = ticket_of(metadata)
  local state = metadata:get(STATE)
  local attempt = tonumber(headers:get("x-envoy-attempt-count")) or 1
  local now = handle:timestamp()
  local started = state ~= nil and state["started"] or now

  -- Header changes survive into the next attempt, which gets the body as it came: so path and length are kept aside as
  -- they were. Logs read the path too, hence without the query, where some clients carry keys.
  local path, query = string.match(headers:get(":path"), "^([^?]*)(.*)$")
  if state == nil then
    metadata:set(STATE, "path", path)
    metadata:set(STATE, "query", query)
    metadata:set(STATE, "started", started)
    metadata:set(STATE, "length", headers:get("content-length") or "")
  else
    path, query = state["path"], state["query"]
    if state["length"] ~= "" then headers:replace("content-length", state["length"]) end
  end

  if ticket ~= nil and attempt > 1 then
    note_timeout(metadata, ticket, state, attempt - 1, now)
    if attempt > #ticket["priority_groups"] then
      local body = error_body("Every deployment that may serve this request failed.", "server_error", "chain_exhausted")
      return refuse(handle, metadata, attempt, "503", body)
    end
    if is_too_late(ticket, started, now) then
      local body = error_body("The deadline passed before a deployment answered.", "timeout_error", "deadline_exceeded")
      return refuse(handle, metadata, attempt, "504", body)
    end
  end

  metadata:set(STATE, "attempt_started", now)
  report(metadata, headers, ticket, attempt)

  local base = headers:get("x-router-path") or "/v1"
  if base == "/" then base = "" end
  headers:replace(":path", base .. string.sub(path, 4) .. query)
  headers:replace(":authority", headers:get("x-router-host"))
  local provider_model = headers:get("x-router-provider-model")
  if provider_model == nil or string.find(provider_model, "*", 1, true) ~= nil then return end
  if ticket == nil or is_overtaken(ticket, attempt, provider_model) then replace_model(handle, provider_model) end
end

-- The first `count` groups as they were, then those of `more` that are not among them.
local function next_groups(groups, count, more)
  local result, known = {}, {}
  for place = 1, math.min(count, #groups) do
    result[place] = groups[place]
    known[groups[place]["name"]] = true
  end
  for _, group in ipairs(more) do
    if not known[group["name"]] then result[#result + 1] = group end
  end
  return result
end

-- Decides what follows an answer that failed for `cause`. Returns the groups to go on with, or nil when this was the last.
local function after_failure(ticket, state, attempt, cause, now)
  local groups = ticket["priority_groups"]
  local own = ticket["after"] ~= nil and ticket["after"][cause] or nil
  if own ~= nil then groups = next_groups(groups, attempt, own) end
  local within = ticket["retry_within_ms"] or 0
  local is_last = attempt >= math.min(#groups, ticket["max_attempts"] or #groups)
  local was_slow = within > 0 and now - state["attempt_started"] > within
  if is_last or was_slow or is_too_late(ticket, state["started"], now) then return nil end
  return groups
end

-- Goes on with `groups`: the next attempt takes the next of them.
local function go_on(handle, metadata, groups, cause)
  metadata:set(TICKET, "priority_groups", groups)
  metadata:set(ATTEMPT, "cause", cause)
  handle:headers():replace("x-router-cause", cause)
end

local function is_about_context_length(handle)
  local body = handle:body()
  if body == nil or body:length() == 0 then return false end
  local text = string.lower(body:getBytes(0, math.min(body:length(), 65536)))
  for _, phrase in ipairs(CONTEXT_LENGTH) do
    if string.find(text, phrase, 1, true) ~= nil then return true end
  end
  return false
end

local function on_failure(handle, state, status)
  local metadata = handle:streamInfo():dynamicMetadata()
  local ticket = ticket_of(metadata)
  if ticket == nil then return end
  local attempt = tonumber(handle:requestHeaders():get("x-envoy-attempt-count")) or 1
  local now = handle:timestamp()
  if status == 400 then
    local groups = after_failure(ticket, state, attempt, "context_length", now)
    if groups == nil or not is_about_context_length(handle) then return end
    handle:headers():replace(":status", "503") -- which Envoy retries
    note_cause(handle:streamInfo():dynamicMetadata(), attempt, "context_length")
    return go_on(handle, handle:streamInfo():dynamicMetadata(), groups, "context_length")
  end
  if REFUSED[status] ~= nil then
    note_cause(metadata, attempt, REFUSED[status])
    local groups = after_failure(ticket, state, attempt, REFUSED[status], now)
    if groups == nil then return end
    handle:headers():replace(":status", "503") -- another key, or another provider, may do
    return go_on(handle, metadata, groups, REFUSED[status])
  end
  -- The attempt leg says by this header why it turned an answer down, and by FINAL that it was the last.
  local headers = handle:headers()
  local cause = headers:get("x-router-cause") or (status == 429 and "rate_limited" or "server_error")
  note_cause(metadata, attempt, cause)
  if headers:get(FINAL) ~= nil then return end
  local groups = after_failure(ticket, state, attempt, cause, now)
  if groups == nil then
    headers:replace(FINAL, "true")
  else
    go_on(handle, metadata, groups, cause)
  end
end

-- OpenAI's chat and completion streams end with [DONE]; other APIs end otherwise.
local function ends_with_done(path)
  return string.find(path, "^/v1/chat/completions") ~= nil or string.find(path, "^/v1/completions") ~= nil
end

-- How many events begin in `text` after its first `skipped` characters, which were looked at before.
local function count_events(text, skipped)
  local count, position = 0, math.max(1, skipped - 4)
  while true do
    position = string.find(text, "\ndata:", position, true)
    if position == nil then return count end
    count, position = count + 1, position + 6
  end
end

-- Counts the events as they come: of a stream that breaks off nothing else says how much of it there was. One that ended
-- cleanly but without the last event it should have would look complete: say that it is not.
local function watch_stream(handle, must_end_with_done)
  local passing, done, tail, events, last = new_events(), false, "\n", 0, nil
  for chunk in handle:bodyChunks() do
    local received = chunk:getBytes(0, chunk:length())
    local passed = pass_events(passing, received, false)
    if passed ~= received then chunk:setBytes(passed) end
    local text = tail .. passed
    local new = count_events(text, #tail)
    if new > 0 then
      events = events + new
      handle:streamInfo():dynamicMetadata():set(USAGE, "events", events)
    end
    if string.find(text, "[\r\n]data: ?%[DONE%]") ~= nil then done = true end
    tail = string.sub(text, -16)
    last = chunk
  end
  if last == nil then return end
  local ending = pass_events(passing, "", true)
  if must_end_with_done and not done then
    handle:streamInfo():dynamicMetadata():set(ATTEMPT, "incomplete", true) -- for the observer: this 200 is a failure
    local separator = string.find(tail .. ending, "\n\r?\n$") ~= nil and "" or "\n\n"
    local body = error_body("The provider ended the stream before it was complete.", "server_error", "stream_incomplete")
    ending = ending .. separator .. "data: " .. body .. "\n\n"
  end
  if ending ~= "" then last:setBytes(last:getBytes(0, last:length()) .. ending) end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status"))
  local state = handle:streamInfo():dynamicMetadata():get(STATE)
  if state == nil then return end
  handle:requestHeaders():replace(":path", state["path"]) -- what the logs read
  local is_stream = string.find(string.lower(headers:get("content-type") or ""), "text/event-stream", 1, true) ~= nil
  -- An error is a body, whatever it calls itself: nobody looks for events in it, Envoy included.
  if is_stream and status ~= 200 then headers:replace("content-type", "text/plain") end
  if status == 400 or REFUSED[status] ~= nil or status == 429 or status >= 500 then return on_failure(handle, state, status) end
  if status ~= 200 or not is_stream then return end
  headers:remove("content-length") -- something may be left out or appended
  local encoding = headers:get("content-encoding")
  watch_stream(handle, ends_with_done(state["path"]) and (encoding == nil or encoding == "identity"))
end
