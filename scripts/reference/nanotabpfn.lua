--- nanoTabPFN cases: logits, loss, the norm of the gradient and, where given, the gradient itself.
-- f64: 1e-10 of each tensor's largest value. f32: logits and loss 1e-5, gradients 1e-4 of it.
local build = require "reference.model"
local measure = require "reference.measure"
local mosaic = require "mosaic"
local objective = require "nanotabpfn.objective"
local places = require "reference.places"

local function scalar(value)
  return mosaic.tensor({ value }, { dtype = "f64" })
end

local function gradients(net)
  local grads, total = {}, 0
  for name, parameter in net:named_parameters() do
    grads[name] = parameter.grad
    total = total + parameter.grad:to("f64"):square():sum():item()
  end
  return grads, math.sqrt(total)
end

local function run(case, dtype, comm, strategy)
  local net = build(case, dtype, comm, strategy)
  local world = net:communicator()
  local shard = { axis = 2, comm = world, layout = "contiguous" }
  local x, y, train_rows = case.get "x", case.get "y", case.get("train_rows"):item()
  local own_x, own_y = mosaic.shard(x:to(dtype), shard), mosaic.shard(y:to(dtype), shard)
  local logits = net(own_x, own_y, train_rows)
  objective.part(logits, own_y, x:size(1) * (x:size(2) - train_rows)):backward()
  mosaic.sync_gradients(net, { comm = world })
  local all, labels = objective.gather(world, logits, own_y)
  local grads, norm = gradients(net)
  return { logits = all, loss = scalar(objective.mean(all, labels)), grad_norm = scalar(norm), grads = grads }
end

local BOUNDS = {
  f64 = { logits = 1e-10, loss = 1e-10, grad_norm = 1e-10, grad = 1e-10 },
  f32 = { logits = 1e-5, loss = 1e-5, grad_norm = 1e-4, grad = 1e-4 },
}

local function relative(share)
  return function(scale) return share * scale end
end

local function compare(worst, case, dtype, place, got)
  local bounds = BOUNDS[dtype]
  for _, name in ipairs { "logits", "loss", "grad_norm" } do
    local expected = case.get(name)
    if expected then worst:add(name .. ", " .. place, got[name], expected, relative(bounds[name])) end
  end
  for name, expected in pairs(case.all "grad.") do
    worst:add(name .. ", " .. place, got.grads[name], expected, relative(bounds.grad))
  end
end

return function(case)
  local result = {}
  for _, dtype in ipairs { "f64", "f32" } do
    local worst = measure.new()
    places({ "contiguous" }, function(comm, _, strategy)
      return run(case, dtype, comm, strategy)
    end, function(place, got) compare(worst, case, dtype, place, got) end, { 4 })
    result[dtype] = worst
  end
  return result
end
