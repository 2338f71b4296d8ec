--- What travels round a ring: lists of tensors (..., rows, columns) of equal rows, sent and received one
-- message a tensor, with tags that follow each other. Without rows there is nothing to send, on both sides.
local create = require "mosaic.tensor.create"

local travel = {}

--- Starts sending tensors; the requests go into `sent`. format: nil, or how they travel (wire.lua).
function travel.send(comm, tensors, to, tag, sent, format)
  for i, x in ipairs(tensors[1]:size(-2) > 0 and tensors or {}) do
    sent[#sent + 1] = comm:sendrecv(x, to, nil, nil, { tag = tag + i - 1, async = true, wire = format })
  end
end

--- Starts receiving tensors like these but with `rows` rows (and another dtype, if given); returns a function
-- that waits for them.
function travel.receive(comm, like, rows, from, tag, dtype, format)
  local requests, tensors = {}, {}
  for i, x in ipairs(like) do
    local shape = x.shape
    shape[#shape - 1] = rows
    if rows == 0 then
      tensors[i] = create.empty { dtype = dtype or x.dtype, device = x.device, unpack(shape) }
    else
      requests[i] = comm:sendrecv(nil, nil, from, shape,
        { tag = tag + i - 1, dtype = dtype or x.dtype, device = x.device, async = true, wire = format })
    end
  end
  return function()
    for i, request in ipairs(requests) do tensors[i] = request:wait() end
    return tensors
  end
end

--- Waits for all requests and empties the list.
function travel.wait(requests)
  for i, request in ipairs(requests) do
    request:wait()
    requests[i] = nil
  end
end

--- Blocks are large and many: what is used up goes at once, not when the collector comes by. (A message
-- under way keeps what it needs.)
function travel.free(tensors)
  for _, x in ipairs(tensors or {}) do x:free() end
end

return travel
