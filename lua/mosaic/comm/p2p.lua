--- Messages between two ranks, and the barrier. Only sendrecv carries a gradient back.
-- Messages from one rank to another with the same tag (0..32767, default 0) arrive in the order in which
-- they were sent. A send waits for its receiver: two ranks that both send first wait for ever.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor"
local arguments = require "mosaic.comm.arguments"
local Comm = require "mosaic.comm.class"
local record = require "mosaic.comm.record"
local Request = require "mosaic.comm.request"
local wire = require "mosaic.wire"

local BACKWARD = 32768 -- added to the tag on the way back

local function check_options(where, options, ...)
  options = check.options(where, options or {}, { "tag", "async", ... })
  local tag = options.tag or 0
  check.integer(where, "tag", tag, 0)
  if tag >= BACKWARD then check.fail("%s: tags are 0..%d, got %d", where, BACKWARD - 1, tag) end
  return options, tag
end

local function check_tensor(where, x)
  if not Tensor.is(x) then check.fail("%s: expected a tensor, got %s", where, check.show(x)) end
end

--- Starts an operation without a gradient; `result` is what waiting for it returns.
local function run(comm, options, result, name, ...)
  local request = Request.start(comm, result and function() return result end, nil, name, ...)
  return options.async and request or request:wait()
end

--- A gradient that stopped here without a word would be wrong.
local function refuse_gradient(x)
  if x.edge and state.current.recording then
    check.fail("send: %s takes part in a gradient, which send does not carry back; use sendrecv or detach()",
      x:describe())
  end
end

--- Sends x to rank `to`; options: tag, async.
function Comm:send(x, to, options)
  check_tensor("send", x)
  refuse_gradient(x)
  self:check_rank("send", "to", to)
  local tag
  options, tag = check_options("send", options)
  return run(self, options, nil, "mosaic_comm_send", x.c, to, tag)
end

--- Receives into an existing tensor (any strides) from rank `from`, and returns it.
function Comm:recv(into, from, options)
  check_tensor("recv", into)
  self:check_rank("recv", "from", from)
  local tag
  options, tag = check_options("recv", options)
  into:refuse_in_place "recv"
  return run(self, options, into, "mosaic_comm_recv", into.c, from, tag)
end

--- The C view that will hold what arrives; size 0 where nothing does.
local function new_result(x, from, shape, options)
  local alike = x and not (shape or options.dtype or options.device or options.wire)
  if from and alike then -- the usual case, in a hurry
    local c = Tensor.blank()
    check.call("mosaic_tensor_new", c, x.c.dtype, x.c.ndim, x.c.size, C.mosaic_tensor_device(x.c))
    return c
  end
  local like = from and (shape or x and x.shape) or not from and { 0 }
  if not like then check.fail "sendrecv: the shape of what arrives is missing" end
  local dtype, device = options.dtype or x and x.dtype, options.device or x and x.device
  if options.wire and from then like, dtype = wire.form(options.wire, like, dtype or "f32") end
  return create.empty { dtype = dtype, device = device, unpack(like) }.c
end

local exchange

--- The same way back, between those whom it concerns.
local function sendrecv_back(call, g)
  local source, target = call.own_wants and call.to or nil, call.peers_want and call.from or nil
  if not (source or target) then return nil end
  local back = exchange(call.comm, g, target, source, call.shape, call.tag + BACKWARD, {})
  return source and back
end

--- sendrecv on checked arguments.
function exchange(comm, x, to, from, shape, tag, options)
  local call = record.begin(comm, "sendrecv", to and x or nil, sendrecv_back,
    { to = to, from = from, tag = tag, out = new_result(x, from, shape, options), wire = options.wire })
  call.shape = call.node and x and x.shape
  local outgoing = to and record.outgoing(call, x) or nil
  call.dtype, call.wire = options.dtype or x and x.dtype, from and call.wire -- of what arrives
  return record.run(call, options, call.out, from or -1, outgoing, to or -1, tag, call.mark)
end

--- Sends x to rank `to` while receiving from rank `from`; returns what arrived. Either rank may be nil.
-- `shape` is that of the arriving tensor (default: x's), its dtype and device are x's, or options.dtype and
-- options.device. Also tag, async and, on both ranks, wire: rows travel in that format (wire.lua), their
-- gradient as it is.
function Comm:sendrecv(x, to, from, shape, options)
  local where = "sendrecv"
  if x ~= nil or to then check_tensor(where, x) end
  if to then self:check_rank(where, "to", to) end
  if from then self:check_rank(where, "from", from) end
  local tag
  options, tag = check_options(where, options, "dtype", "device", "wire")
  arguments.wire(where, options)
  return exchange(self, x, to, from, shape, tag, options)
end

--- Returns when all ranks have come here.
function Comm:barrier(options)
  options = check.options("barrier", options or {}, { "async" })
  return run(self, options, nil, "mosaic_comm_barrier")
end

return Comm
