--- Data and gradients over ranks: cutting tensors into shards, putting them together, summing.
local check = require "mosaic.check"
local context = require "mosaic.context"
local create = require "mosaic.tensor.create"
local partition = require "mosaic.partition"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"

local parallel = {}

local OPTIONS = { "axis", "layout", "indices", "comm" }

local function resolve(where, x, options)
  if not Tensor.is(x) then check.fail("%s: expected a tensor, got %s", where, check.show(x)) end
  check.options(where, options, OPTIONS)
  local comm = context.comm(where, options.comm, "sp")
  return comm, options.layout or options.indices and "indices" or context.layout()
end

--- The slices of x along an axis at these places.
local function pick(x, axis, places)
  return x:index_select(axis, create.tensor(places, { dtype = "i64", device = x.device }))
end

--- This rank's rows of x, which every rank holds whole. options: axis (required), layout, indices,
-- comm. The gradient of a shard reaches the rows it was cut from.
function parallel.shard(x, options)
  local comm, layout = resolve("shard", x, options)
  local axis = check.axis("shard", options.axis, x.ndim) + 1
  local part = partition.new {
    layout = layout, rows = x:size(axis), ranks = comm.size, indices = options.indices,
  }
  if layout == "contiguous" then
    local piece = part:pieces(comm.rank)[1]
    return x:narrow(axis, piece[1], piece[3]):contiguous()
  end
  return pick(x, axis, part:positions(comm.rank))
end

--- The whole tensor, on every rank, of what each rank holds a shard of. options as for shard.
-- The gradient of the whole is cut and summed back to the ranks.
function parallel.unshard(x, options)
  local comm, layout = resolve("unshard", x, options)
  local axis = check.axis("unshard", options.axis, x.ndim) + 1
  local counts = {}
  for i, row in ipairs(comm:agree("unshard", { layout = layout }, { rows = x:size(axis) })) do
    counts[i] = row.rows
  end
  local part = partition.of_counts("unshard", counts, layout, options.indices)
  local whole = comm:all_gather(x, axis, counts)
  if part:is_in_order() then return whole end
  return pick(whole, axis, part:places())
end

local function check_model(where, model)
  if type(model) ~= "table" or type(model.parameters) ~= "function" then
    check.fail("%s: expected a model with parameters, got %s", where, check.show(model))
  end
  return model
end

--- Copies rank 0's parameters to all ranks of the world, so that training starts equal.
function parallel.broadcast_parameters(model, options)
  options = check.options("broadcast_parameters", options or {}, { "comm", "root" })
  local comm = context.comm("broadcast_parameters", options.comm)
  local parameters = check_model("broadcast_parameters", model):parameters()
  require "mosaic.autograd".no_grad(function()
    for _, parameter in ipairs(parameters) do
      parameter:copy_(comm:broadcast(parameter, options.root or 0))
    end
  end)
  return model
end

--- The gradients of all parameters in one vector; zeros where a parameter has none.
local function flatten_gradients(parameters)
  local parts = {}
  for i, parameter in ipairs(parameters) do
    parts[i] = (parameter.grad or parameter:zeros_like()):reshape(-1)
  end
  return require "mosaic.tensor.join".cat(parts, 1)
end

--- Sums the gradients of the model's parameters over all ranks (data and sequence parallel alike),
-- in one message; they are views of one vector then. Each rank's loss must be its own part of the global
-- loss: a local sum divided by the global count (mosaic.total).
function parallel.sync_gradients(model, options)
  options = check.options("sync_gradients", options or {}, { "comm" })
  local comm = context.comm("sync_gradients", options.comm)
  check_model("sync_gradients", model)
  if comm.size == 1 then return model end -- the walk through the modules is 0.3 ms of a training step
  local parameters = model:parameters()
  if #parameters == 0 then return model end
  require "mosaic.autograd".no_grad(function()
    local summed, at = comm:all_reduce(flatten_gradients(parameters)), 1
    for _, parameter in ipairs(parameters) do
      local count = parameter:numel()
      parameter.grad = summed:narrow(1, at, count):view(parameter.shape)
      state.keep_gradient(parameter)
      at = at + count
    end
  end)
  return model
end

--- The sum of a number over all ranks: the count that a global mean divides by.
function parallel.total(number, options)
  options = check.options("total", options or {}, { "comm" })
  local comm = context.comm("total", options.comm)
  return comm:total(number)
end

return parallel
