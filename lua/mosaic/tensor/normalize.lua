--- Rows brought to a common scale: softmax along any axis, layer_norm and rms_norm over the last.
--
-- A name with `_backward` is a derivative, from the gradient g; the tape calls it.
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local function optional(where, what, value)
  if value ~= nil then return operand(where, what, value) end
end

for _, name in ipairs { "softmax", "log_softmax" } do
  local backward = name .. "_backward"

  --- exp(x) / sum(exp(x)) along an axis (default the last), or its logarithm. A slice of nothing but
  -- -inf gives NaN.
  Tensor[name] = function(self, axis)
    local c = Tensor.blank()
    check.call("mosaic_" .. name, c, self.c, check.axis(name, axis or -1, self.c.ndim))
    return (Tensor.wrap(c))
  end

  --- self is the result.
  Tensor[backward] = function(self, g, axis)
    local c = Tensor.blank()
    check.call("mosaic_" .. backward, c, operand(backward, "the gradient", g), self.c,
      check.axis(backward, axis or -1, self.c.ndim))
    return (Tensor.wrap(c))
  end
end

--- layer_norm and the statistics that its derivative needs.
function Tensor:layer_norm_forward(weight, bias, eps)
  local out, stats = Tensor.blank(), Tensor.blank()
  check.call("mosaic_layer_norm", out, stats, self.c, optional("layer_norm", "the weight", weight),
    optional("layer_norm", "the bias", bias), eps or 1e-5)
  return Tensor.wrap(out), Tensor.wrap(stats)
end

--- layer_norm of self + y, that sum, and the statistics.
function Tensor:add_layer_norm_forward(y, weight, bias, eps)
  local out, sum, stats = Tensor.blank(), Tensor.blank(), Tensor.blank()
  local where = "add_layer_norm"
  check.call("mosaic_add_layer_norm", out, sum, stats, self.c, operand(where, "the other summand", y),
    optional(where, "the weight", weight), optional(where, "the bias", bias), eps or 1e-5)
  return Tensor.wrap(out), Tensor.wrap(sum), Tensor.wrap(stats)
end

function Tensor:rms_norm_forward(weight, eps)
  local out, stats = Tensor.blank(), Tensor.blank()
  check.call("mosaic_rms_norm", out, stats, self.c, optional("rms_norm", "the weight", weight), eps or 1e-5)
  return Tensor.wrap(out), Tensor.wrap(stats)
end

--- (x - mean) / sqrt(variance + eps) * weight + bias over the last axis; weight and bias may be nil,
-- eps is 1e-5 by default.
function Tensor:layer_norm(weight, bias, eps)
  return (self:layer_norm_forward(weight, bias, eps))
end

--- layer_norm of x + y in one pass, as a residual block ends; y has x's shape and dtype.
function Tensor:add_layer_norm(y, weight, bias, eps)
  return (self:add_layer_norm_forward(y, weight, bias, eps))
end

--- x / sqrt(mean(x^2) + eps) * weight over the last axis.
function Tensor:rms_norm(weight, eps)
  return (self:rms_norm_forward(weight, eps))
end

--- Blank views for the gradients that are wanted.
local function blanks(wanted)
  local c = {}
  for i = 1, 3 do c[i] = wanted[i] and Tensor.blank() or nil end
  return c
end

local function wrapped(c)
  local t = {}
  for i = 1, 3 do t[i] = c[i] and Tensor.wrap(c[i]) end
  return t[1], t[2], t[3]
end

--- Gradients of x, weight and bias; `wanted[i]` tells which of them to make.
function Tensor:layer_norm_backward(g, weight, stats, wanted)
  local c = blanks(wanted)
  check.call("mosaic_layer_norm_backward", c[1], c[2], c[3], g.c, self.c, weight and weight.c or nil, stats.c)
  return wrapped(c)
end

function Tensor:rms_norm_backward(g, weight, stats, wanted)
  local c = blanks(wanted)
  check.call("mosaic_rms_norm_backward", c[1], c[2], g.c, self.c, weight and weight.c or nil, stats.c)
  return wrapped(c)
end
