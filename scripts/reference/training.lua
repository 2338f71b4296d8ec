--- nanoTabPFN training: the loss and gradient norm of every step, and parameters after the last.
-- `final_y.NAME` is where gradients are taken, `final_x.NAME` the average to evaluate; the steps are
-- schedule-free AdamW with the learning rate and clipping of the metadata (4e-3 and 1.0 by default).
-- f64: 1e-10 of each tensor's largest value. f32: 1e-4 of it, but 1e-3 for parameters: a step divides
-- each gradient by its own size, so that the rounding of a small one is as large as that of any other.
local Trainer = require "nanotabpfn.trainer"
local build = require "reference.model"
local measure = require "reference.measure"
local mosaic = require "mosaic"
local places = require "reference.places"

--- Parameters by name, as they are now.
local function snapshot(net)
  local copy = {}
  for name, parameter in net:named_parameters() do copy[name] = parameter:detach():clone() end
  return copy
end

local function list_tensor(list)
  return mosaic.tensor(list, { dtype = "f64" })
end

--- Step k's rows of this rank.
local function batch(case, k, dtype, comm)
  local x, y, train_rows = case.get("x")[k], case.get("y")[k], case.get("train_rows"):item()
  local shard = { axis = 2, comm = comm, layout = "contiguous" }
  return { x = mosaic.shard(x:to(dtype), shard), y = mosaic.shard(y:to(dtype), shard),
    train_rows = train_rows, test_cells = x:size(1) * (x:size(2) - train_rows) }
end

local function run(case, dtype, comm, strategy)
  local net = build(case, dtype, comm, strategy)
  local trainer = Trainer { model = net, lr = case.parameters.lr, clip = case.parameters.clip }
  local loss, norm, result = {}, {}, {}
  for k = 1, case.get("x"):size(1) do
    loss[k], norm[k] = trainer:step(batch(case, k, dtype, net:communicator()))
  end
  result.loss, result.grad_norm, result.final_y = list_tensor(loss), list_tensor(norm), snapshot(net)
  trainer:averaged(function() result.final_x = snapshot(net) end)
  return result
end

local SHARES = {
  f64 = { curve = 1e-10, parameters = 1e-10 },
  f32 = { curve = 1e-4, parameters = 1e-3 },
}

local function compare(worst, case, dtype, place, got)
  local function bound(scale) return SHARES[dtype].curve * scale end
  local function parameter_bound(scale) return SHARES[dtype].parameters * scale end
  worst:add("loss, " .. place, got.loss, case.get "loss", bound)
  if case.get "grad_norm" then worst:add("norm, " .. place, got.grad_norm, case.get "grad_norm", bound) end
  for _, point in ipairs { "final_y", "final_x" } do
    for name, expected in pairs(case.all(point .. ".")) do
      local where = ("%s %s, %s"):format(point, name:match "[^.]*%.[^.]*$", place)
      worst:add(where, got[point][name], expected, parameter_bound)
    end
  end
end

return function(case)
  local result = {}
  for _, dtype in ipairs { "f64", "f32" } do
    local worst = measure.new()
    places({ "contiguous" }, function(comm, _, strategy)
      return run(case, dtype, comm, strategy)
    end, function(place, got) compare(worst, case, dtype, place, got) end, dtype == "f32" and { 4 } or nil)
    result[dtype] = worst
  end
  return result
end
