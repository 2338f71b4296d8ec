--- Gives operations between ranks their place on the tape.
--
-- Backward sends too, so ranks must agree whether there is one. Each message of the forward pass says
-- whether its sender's input wants a gradient; when any does, every rank that took part records the
-- operation, whatever its own input wants, and takes part in backward (with zeros where no gradient
-- arrived). For that the result must be part of what backward starts from on every rank: equal
-- programs see to it. Nodes are numbered when the operation starts and walk back newest first, so equal
-- programs also walk back through the same operations in the same order.
-- The loss is understood as the sum over the ranks of what each calls backward on.
local bit = require "bit"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local edges = require "mosaic.autograd.edge"
local tape = require "mosaic.autograd.tape"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor"
local Request = require "mosaic.comm.request"
local wire = require "mosaic.wire"

local LAST_FLOAT = C.MOSAIC_DTYPE_F16
local WANTS, SILENT = 1, 2 -- marks on messages: "my input wants a gradient", "I do not record"

local function zeros_of(kind)
  return create.zeros { dtype = kind.dtype, device = kind.device, unpack(kind.shape) }
end

--- Backward of every operation: call.backward(call, gradient of the result) -> gradient of the input.
local function rule(node)
  local input, call = node.inputs[1], node.context
  local gradient = call.backward(call, node.grad or zeros_of(node.kind))
  if input and gradient then edges.deposit(input, gradient) end
end

--- Makes `out` part of the graph when this rank's or an arrived mark asks for it. The node keeps the
-- call, and the call no tensor: what is not needed for backward is freed.
local function attach(call, arrived, out)
  local node, own = call.node, call.mark == WANTS
  local peers = bit.band(arrived, WANTS) ~= 0
  call.node, call.own_wants, call.peers_want = nil, own, peers
  if not own and not peers then return end
  if not node then
    check.fail("%s: other ranks record a gradient through this, this rank runs under no_grad", call.name)
  elseif bit.band(arrived, SILENT) ~= 0 then
    check.fail("%s: this rank records a gradient through this, other ranks run under no_grad", call.name)
  end
  node.context, node.collective = call, true
  tape.attach(node, out)
end

local function finish(call, arrived)
  local out = Tensor.wrap(call.out)
  call.out = nil
  if call.wire then out = wire.decode(out, call.wire, call.dtype) end
  attach(call, arrived, out)
  return call.after and call.after(call, out) or out
end

local record = {}

--- The description of one operation on x (nil: this rank gives no input) that is about to start:
-- call.out is the C view for its result (fields.out, or a blank one), call.mark what goes out with its
-- messages. `fields` has what backward(call, g) and after(call, result) -> result need, but no tensors.
function record.begin(comm, name, x, backward, fields)
  local call = fields or {}
  local differs = not x or x.c.dtype <= LAST_FLOAT -- integers have no gradient
  local recording = state.current.recording and differs
  local edge = recording and x and x.edge or false
  call.comm, call.name, call.backward = comm, name, backward
  call.node = recording and tape.new_node(name, rule, { edge })
  call.mark = edge and WANTS or (recording or not differs) and 0 or SILENT
  call.out = call.out or Tensor.blank()
  return call
end

--- The C view of what goes out for x: x itself or, where call.wire names a format, its encoding.
function record.outgoing(call, x)
  if not call.wire then return x.c end
  call.dtype = x.dtype
  return wire.encode(x, call.wire).c
end

--- Starts it: the C function mosaic_comm_`call.name` (or call.operation) with these arguments. Returns the
-- result, or with options.async a request for it.
function record.run(call, options, ...)
  local request = Request.start(call.comm, finish, call, "mosaic_comm_" .. (call.operation or call.name), ...)
  return options.async and request or request:wait()
end

return record
