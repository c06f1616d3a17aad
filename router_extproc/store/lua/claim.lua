-- Gives a name to whoever asks first, and again to a caller who did not hear the answer.
--
-- KEYS: the name's
-- ARGV: token of the caller, milliseconds for which it is taken

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
