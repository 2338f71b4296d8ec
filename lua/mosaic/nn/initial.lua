--- First values of parameters: each function fills a tensor in place and returns it.
-- `options.generator` names the source of random numbers; without it the default one is used.
-- fan_in is the last size of a matrix (out, in), fan_out the first; further axes count to both.
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"

local initial = {}

local function fans(where, t)
  operand(where, "what to fill", t)
  local shape = t.shape
  if #shape < 2 then check.fail("%s: %s has no fan-in: at least 2 dims are needed", where, t:describe()) end
  local rest = 1
  for i = 3, #shape do rest = rest * shape[i] end
  return shape[2] * rest, shape[1] * rest
end

local function options_of(where, options)
  return check.options(where, options or {}, { "gain", "generator" })
end

--- Every element between low and high.
function initial.uniform_(t, low, high, options)
  operand("uniform_", "what to fill", t)
  options = options_of("uniform_", options)
  return autograd.no_grad(t.uniform_, t, low or 0, high or 1, { generator = options.generator })
end

function initial.normal_(t, mean, std, options)
  operand("normal_", "what to fill", t)
  options = options_of("normal_", options)
  return autograd.no_grad(t.normal_, t, mean or 0, std or 1, { generator = options.generator })
end

local function fill(where, t, value)
  operand(where, "what to fill", t)
  return autograd.no_grad(t.fill_, t, value)
end

function initial.constant_(t, value) return fill("constant_", t, value) end
function initial.zeros_(t) return fill("zeros_", t, 0) end
function initial.ones_(t) return fill("ones_", t, 1) end

local function gain_of(options, default)
  return options and options.gain or default
end

--- U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)): keeps the variance both ways.
function initial.xavier_uniform_(t, options)
  local fan_in, fan_out = fans("xavier_uniform_", t)
  local bound = gain_of(options, 1) * math.sqrt(6 / math.max(1, fan_in + fan_out))
  return initial.uniform_(t, -bound, bound, options)
end

function initial.xavier_normal_(t, options)
  local fan_in, fan_out = fans("xavier_normal_", t)
  local std = gain_of(options, 1) * math.sqrt(2 / math.max(1, fan_in + fan_out))
  return initial.normal_(t, 0, std, options)
end

--- U(-a, a), a = gain sqrt(3 / fan_in); the gain is sqrt(2), for relu, unless given.
function initial.kaiming_uniform_(t, options)
  local fan_in = fans("kaiming_uniform_", t)
  local bound = gain_of(options, math.sqrt(2)) * math.sqrt(3 / math.max(1, fan_in))
  return initial.uniform_(t, -bound, bound, options)
end

function initial.kaiming_normal_(t, options)
  local fan_in = fans("kaiming_normal_", t)
  return initial.normal_(t, 0, gain_of(options, math.sqrt(2)) / math.sqrt(math.max(1, fan_in)), options)
end

return initial
