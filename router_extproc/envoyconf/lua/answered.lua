-- Notes of each attempt that its provider began to answer, before anybody holds the answer back.
--
-- Rules of this file
-- * It stands next to the provider: what is judged or unpacked may never get as far as the logs, and is billed all the same.
-- * It reads nothing but headers, and changes nothing.

local ATTEMPT = "router.attempt"

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "200" then return end
  local metadata = handle:streamInfo():dynamicMetadata()
  local before = metadata:get(ATTEMPT)
  local answered = before ~= nil and before["answered"] or {}
  local is_stream = string.find(headers:get("content-type") or "", "text/event-stream", 1, true) ~= nil
  answered[handle:requestHeaders():get("x-envoy-attempt-count") or "1"] = is_stream and "stream" or "answer"
  metadata:set(ATTEMPT, "answered", answered)
end
