--- Reverse-mode differentiation of tensor methods: require this once and tensors record.
local tape = require "mosaic.autograd.tape"
require "mosaic.autograd.record"(require "mosaic.autograd.gradients")
for _, file in ipairs { "normalize", "cross_entropy", "linear_gelu", "join", "sort" } do
  require("mosaic.autograd." .. file)
end

return {
  no_grad = tape.no_grad,
  with_recording = tape.with_recording,
  backward = tape.backward,
  Function = require "mosaic.autograd.function",
  checkpoint = require "mosaic.autograd.checkpoint",
  gradcheck = require "mosaic.autograd.gradcheck",
}
