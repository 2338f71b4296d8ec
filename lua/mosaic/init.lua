--- Mosaic: `local mosaic = require "mosaic"`.
local create = require "mosaic.tensor.create"
local autograd = require "mosaic.autograd"

local mosaic = {
  Tensor = require "mosaic.tensor",
  autograd = autograd,
  no_grad = autograd.no_grad,
  gradcheck = autograd.gradcheck,
  checkpoint = autograd.checkpoint,
}

local comm = require "mosaic.comm"
mosaic.comm = comm
mosaic.virtual = comm.spawn

for _, name in ipairs { "tensor", "empty", "zeros", "ones", "full", "arange" } do
  mosaic[name] = create[name]
end

mosaic.where = require("mosaic.tensor.elementwise").where
local random = require "mosaic.tensor.random"
for _, name in ipairs { "rand", "randn", "randint", "randperm", "generator", "manual_seed" } do
  mosaic[name] = random[name]
end
local data = require "mosaic.data"
mosaic.data, mosaic.load, mosaic.save = data, data.load, data.save
mosaic.attention = require "mosaic.attention"
mosaic.sdpa, mosaic.merge = mosaic.attention.sdpa, mosaic.attention.merge
for _, file in ipairs { "matmul", "join", "cross_entropy" } do
  for name, f in pairs(require("mosaic.tensor." .. file)) do mosaic[name] = f end
end

return mosaic
