--- `local refuses = refuser(comm, x)`; then `refuses(text, options)`: attention of x with itself raises an
-- error with that text on this rank, and nothing was sent before but what the ranks agree on.
local assert = require "luassert"
local mosaic = require "mosaic"
local fails = require "spec.support.fails"

return function(comm, x)
  return function(text, options)
    options.comm = comm
    comm:reset_counters()
    fails(text, function() mosaic.attend(x, x, x, options) end)
    assert.equal(0, comm:counters("sendrecv").calls)
  end
end
