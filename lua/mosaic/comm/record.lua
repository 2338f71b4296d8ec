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
local check = require "mosaic.check"
local state = require "mosaic.state"
local tape = require "mosaic.autograd.tape"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor"
local Request = require "mosaic.comm.request"

local WANTS, SILENT = 1, 2 -- marks on messages: "my input wants a gradient", "I do not record"

local function zeros_like(edge)
  return create.zeros { dtype = edge.dtype, device = edge.device, unpack(edge.shape) }
end

local function rule(node)
  local edge, input = node.outputs[1], node.inputs[1]
  local gradient = node.context(edge.grad or zeros_like(edge))
  if input and gradient then tape.deposit(input, gradient) end
end

--- Makes `out` part of the graph when this rank's or an arrived mark asks for it.
local function attach(call, node, own, arrived, out)
  local peers_want = bit.band(arrived, WANTS) ~= 0
  if own ~= WANTS and not peers_want then return out end
  if not node then
    check.fail("%s: other ranks record a gradient through this, this rank runs under no_grad", call.name)
  elseif bit.band(arrived, SILENT) ~= 0 then
    check.fail("%s: this rank records a gradient through this, other ranks run under no_grad", call.name)
  end
  node.context = function(g) return call.backward(g, own == WANTS, peers_want) end
  node.collective = true
  tape.attach(node, out)
  return out
end

--- One operation: the C function mosaic_comm_`name` with the arguments that arguments(out, mark) gives.
--   call.x         the input (nil: this rank gives none)
--   call.out       C view of the result (default: the C function makes it)
--   call.backward  function(g, own, peers) -> gradient of x; own, peers: who wants one
--   call.after     function(result) -> what the caller gets
-- Returns the result, or with call.async a request for it.
return function(comm, call, arguments)
  local x, out = call.x, call.out or Tensor.blank()
  local differs = not x or x.dtype:find "f" ~= nil -- integers have no gradient
  local recording = state.current.recording and differs
  local edge = recording and x and x.edge or false
  local node = recording and tape.new_node(call.name, rule, { edge })
  local own = edge and WANTS or (recording or not differs) and 0 or SILENT
  local request = Request.start(comm, function(arrived)
    local result = attach(call, node, own, arrived, Tensor.wrap(out))
    return call.after and call.after(result) or result
  end, "mosaic_comm_" .. call.name, arguments(out, own))
  return call.async and request or request:wait()
end
