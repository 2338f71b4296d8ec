--- Reverse-mode differentiation of tensor methods: require this once and tensors record.
local tape = require "mosaic.autograd.tape"
require "mosaic.autograd.record"(require "mosaic.autograd.gradients")

return {
  no_grad = tape.no_grad,
  backward = tape.backward,
}
