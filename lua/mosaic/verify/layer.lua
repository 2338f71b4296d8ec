--- verify for a layer: its output and all its gradients on shards, beside a copy of it on one rank.
--
--   mosaic.verify(layer, { 2, 13, 5, 8 }, { ranks = 4, axis = 2 })
--
-- The second argument is the shape of the whole input. options: axis (the sharded one; default: the layer's
-- attention_axis), ranks, layout, mask (a mask for all rows), seed, quiet. The layer must not name a
-- communicator: it runs on the ranks that verify makes, and its gradients are summed over them.
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local context = require "mosaic.context"
local Generator = require "mosaic.tensor.generator"
local parallel = require "mosaic.parallel"
local partition = require "mosaic.partition"
local random = require "mosaic.tensor.random"
local report = require "mosaic.verify.report"
local run = require "mosaic.verify.run"
local Tensor = require "mosaic.tensor"

local rows_of = run.rows_of

local OPTIONS = { "axis", "ranks", "layout", "mask", "seed", "quiet" }

--- The same module with tensors of its own, in f64, so that ranks of one process do not share gradients.
-- backend: nil, or what attention layers in it get for theirs.
local function copy(value, done, backend)
  if type(value) ~= "table" then return value end
  if done[value] then return done[value] end
  if Tensor.is(value) then
    local own = value:detach():clone()
    if own.dtype:match "f" then own = own:to "f64" end
    done[value] = value.requires_grad and own:requires_grad_() or own
    return done[value]
  end
  local own = setmetatable({}, getmetatable(value))
  done[value] = own
  for name, field in pairs(value) do
    rawset(own, name, backend and name == "backend" and backend or copy(field, done, backend))
  end
  return own
end

--- The rank's part of a mask: documents, keep and bias go with the rows.
local function local_mask(mask, part, rank)
  local own = {}
  for name, value in pairs(mask or {}) do own[name] = value end
  if own.documents then own.documents = rows_of(own.documents, -1, part, rank) end
  for _, name in ipairs { "keep", "bias" } do
    if Tensor.is(own[name]) then own[name] = rows_of(own[name], -2, part, rank) end
  end
  return own
end

--- Forward and backward of a copy on this rank; { y, dx, [parameter's name] = gradient }, the parameters'
-- gradients summed over comm.
local function compute(comm, job)
  context.init { layout = job.part.layout }
  local layer = copy(job.layer, {}, job.backend)
  local function shard(x) return rows_of(x, job.axis, job.part, comm.rank) end
  local x = shard(job.x):requires_grad_()
  local y = layer:forward(x, job.mask and { mask = local_mask(job.mask, job.part, comm.rank) } or nil)
  y:backward(shard(job.dy))
  parallel.sync_gradients(layer, { comm = comm })
  local results = { y = y:detach(), dx = x.grad }
  for name, parameter in layer:named_parameters() do results[name] = parameter.grad end
  return results
end

local function on_one_rank(job)
  local whole = {}
  for name, value in pairs(job) do whole[name] = value end
  whole.part, whole.backend = partition.new { rows = job.part.rows, ranks = 1 }, "local"
  return comms.spawn(1, function(comm) return compute(comm, whole) end)[1]
end

local function sorted_names(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- This rank's errors as shares of the largest value; of all ranks the largest.
local function errors_of(comm, job, results, truth)
  local errors = {}
  for _, name in ipairs(sorted_names(truth)) do
    local want, own = truth[name], 0
    if name == "y" or name == "dx" then want = rows_of(want, job.axis, job.part, comm.rank) end
    if want:numel() > 0 then
      own = run.distance(results[name], want) / math.max(truth[name]:abs():max():item(), 1e-300)
    end
    local worst = comm:total(own, "max")
    errors[#errors + 1] = report.entry(name, "f64", worst, 0, 1e-12)
  end
  return errors
end

local function new_job(layer, shape, options, ranks)
  local axis = options.axis or layer.attention_axis
  if not axis then
    check.fail("verify: %s has no attention_axis; name the sharded one: axis = 2", layer.class_name)
  end
  axis = check.axis("verify", axis, #shape) + 1
  local generator = Generator(options.seed or 1)
  local function whole()
    return random.randn { dtype = "f64", generator = generator, unpack(shape) }
  end
  local causal = options.mask and options.mask.causal or layer.causal
  return {
    layer = layer, axis = axis, x = whole(), dy = whole(), mask = options.mask,
    part = partition.new {
      rows = shape[axis], ranks = ranks,
      layout = options.layout or layer.layout or causal and "zigzag" or nil,
    },
  }
end

return function(layer, shape, options)
  options = check.options("verify", options or {}, OPTIONS)
  if layer.comm then check.fail "verify: the layer has a communicator of its own; make it without comm" end
  local world = comms.world()
  local ranks = options.ranks or (world.size > 1 and world.size or 4)
  local job = new_job(layer, check.kind("verify", "the shape", shape, "table"), options, ranks)
  local truth = on_one_rank(job)
  local function on_rank(comm)
    local results = compute(comm, job)
    return report.judge {
      title = ("%s on %d ranks: %s, axis %d sharded (%s)"):format(layer.class_name, ranks,
        table.concat(shape, " x "), job.axis, job.part.layout),
      errors = errors_of(comm, job, results, truth),
    }
  end
  local real = world.size > 1 and ranks == world.size
  local found = real and on_rank(world) or comms.spawn(ranks, on_rank)[1]
  if not options.quiet and (not real or world.rank == 0) then print(report.text(found)) end
  return found
end
