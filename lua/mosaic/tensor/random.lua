--- Random tensors: `mosaic.randn{3, 4, generator = g}`, `mosaic.manual_seed(7)`.
--
-- A number is a function of (seed, stream, global index): Philox4x32-10. A generator has a seed and
-- counts its calls, one stream each, so the same calls give the same numbers, whatever the number
-- of threads or ranks. A shard draws its block of the whole tensor with
--   global = { shape = {8, 4}, offset = {5, 1}, step = {1, 1} }
-- where `shape` is the whole tensor's, `offset` the (1-based) index of the block's first element, and
-- `step` the distance of its neighbours; offset and step default to 1.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local create = require "mosaic.tensor.create"
local Generator = require "mosaic.tensor.generator"
local Tensor = require "mosaic.tensor.class"

local random = {}
local OPTIONS = { "dtype", "device", "requires_grad", "generator", "global" }
local sizes_t = ffi.typeof "int64_t[8]"

function random.generator(seed) return Generator(seed or 0) end

--- This rank's default generator.
function random.default()
  local rank = state.current
  rank.generator = rank.generator or Generator(0)
  return rank.generator
end

--- Seeds the default generator.
function random.manual_seed(seed) return random.default():manual_seed(seed) end

local function generator_of(where, options)
  local generator = options.generator or random.default()
  if getmetatable(generator) ~= Generator then
    check.fail("%s: option 'generator' must be a mosaic.generator, got %s", where, check.show(generator))
  end
  return generator
end

--- A list with one integer per axis as a C array; nil stays nil.
local function per_axis(where, name, list, ndim, minus)
  if list == nil then return nil end
  if type(list) ~= "table" or #list ~= ndim then
    check.fail("%s: global.%s must be a list of %d integers", where, name, ndim)
  end
  local c = sizes_t()
  for i = 1, ndim do
    c[i - 1] = check.integer(where, ("global.%s[%d]"):format(name, i), list[i], minus) - minus
  end
  return c
end

local function region(where, global, ndim)
  if global == nil then return nil, nil, nil end
  check.options(where, global, { "shape", "offset", "step" })
  if global.shape == nil then check.fail("%s: global.shape is missing", where) end
  local step = per_axis(where, "step", global.step, ndim, 1)
  for i = 0, step and ndim - 1 or -1 do step[i] = step[i] + 1 end
  return per_axis(where, "shape", global.shape, ndim, 0),
    per_axis(where, "offset", global.offset, ndim, 1), step
end

local function draw(where, t, kind, low, high, options)
  local shape, offset, step = region(where, options.global, t.c.ndim)
  local generator = generator_of(where, options)
  check.call("mosaic_random", t.c, kind, low, high, generator.seed, generator:next_stream(),
    shape, offset, step)
  return t
end

--- Splits `f{2, 3, dtype =, generator =, global =}` and makes the drawn tensor.
local function new(where, kind, low, high, default_dtype, ...)
  local options = create.arguments(where, OPTIONS, ...)
  local plain = { dtype = options.dtype or default_dtype, device = options.device }
  local sizes, ndim = create.sizes(where, options)
  local t = draw(where, create.new(where, sizes, ndim, plain), kind, low, high, options)
  return options.requires_grad and t:requires_grad_() or t
end

--- Uniform in [0, 1).
function random.rand(...) return new("rand", C.MOSAIC_RANDOM_UNIFORM, 0, 1, "f32", ...) end

--- Normal with mean 0 and deviation 1.
function random.randn(...) return new("randn", C.MOSAIC_RANDOM_NORMAL, 0, 1, "f32", ...) end

local function bound(name, value)
  if type(value) ~= "number" then
    check.fail("randint: %s must be an integer, got %s; the call is randint(low, high, {sizes})", name,
      check.show(value))
  end
  return check.integer("randint", name, value)
end

--- Integers low .. high, both included, as math.random(low, high): `randint(1, 6, {10})`; i64.
function random.randint(low, high, ...)
  return new("randint", C.MOSAIC_RANDOM_INTEGER, bound("low", low), bound("high", high), "i64", ...)
end

--- The numbers 1 .. n in random order, i64.
function random.randperm(n, options)
  options = check.options("randperm", options or {}, { "generator", "device" })
  local t = create.empty { check.integer("randperm", "n", n, 0), dtype = "i64", device = options.device }
  local generator = generator_of("randperm", options)
  check.call("mosaic_random_permutation", t.c, generator.seed, generator:next_stream())
  return t
end

local IN_PLACE = { "generator", "global" }

--- Overwrites with uniform numbers in [low, high); options: generator, global.
function Tensor:uniform_(low, high, options)
  self:refuse_in_place "uniform_"
  options = check.options("uniform_", options or {}, IN_PLACE)
  return draw("uniform_", self, C.MOSAIC_RANDOM_UNIFORM, low or 0, high or 1, options)
end

--- Overwrites with normal numbers; options: generator, global.
function Tensor:normal_(mean, std, options)
  self:refuse_in_place "normal_"
  options = check.options("normal_", options or {}, IN_PLACE)
  return draw("normal_", self, C.MOSAIC_RANDOM_NORMAL, mean or 0, std or 1, options)
end

return random
