--- New tensors: `mosaic.zeros{2, 3, dtype = "f64"}`, `mosaic.tensor({{1, 2}, {3, 4}})`.
local ffi = require "ffi"
local new_table = require "table.new"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local devices = require "mosaic.device"
local argument = require "mosaic.tensor.argument"
local Tensor = require "mosaic.tensor.class"

local create = {}

local DTYPES = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" }
local ENUM = {
  f32 = C.MOSAIC_DTYPE_F32, f64 = C.MOSAIC_DTYPE_F64, bf16 = C.MOSAIC_DTYPE_BF16,
  f16 = C.MOSAIC_DTYPE_F16, i32 = C.MOSAIC_DTYPE_I32, i64 = C.MOSAIC_DTYPE_I64, u8 = C.MOSAIC_DTYPE_U8,
}
local RANGES = { u8 = { 0, 2 ^ 8 }, i32 = { -2 ^ 31, 2 ^ 31 }, i64 = { -2 ^ 63, 2 ^ 63 } } -- first, last + 1
local doubles = ffi.typeof "double[?]"
local OPTIONS = { "dtype", "device", "requires_grad" }

--- The C enum of a dtype's name.
function create.dtype(where, name)
  return ENUM[check.one_of(where, "dtype", name or "f32", DTYPES)]
end

local function holds(range, value)
  return value % 1 == 0 and value >= range[1] and value < range[2]
end

--- A number for a tensor of `dtype`: an integer dtype neither rounds nor wraps what it cannot hold.
function create.value(where, dtype, value)
  local range = RANGES[dtype]
  argument.number(where, "the value", value)
  if range and not holds(range, value) then
    check.fail("%s: %s does not fit %s", where, check.show(value), dtype)
  end
  return value
end

--- Argument `at`: a size, or sizes, or, as the last one, options; fails where it is none of these.
local function add_argument(where, known, all, at, last, value)
  if type(value) ~= "table" then
    if at > 1 and all.listed then
      check.fail("%s: unexpected %s after the list of sizes; options go as %s({2, 3}, { device = \"cpu\" })",
        where, check.show(value), where)
    end
    all[#all + 1] = check.integer(where, ("size %d"):format(#all + 1), value, 0)
    return
  elseif getmetatable(value) ~= nil or at > 1 and (#value > 0 or at < last) then
    check.fail("%s: expected sizes, and then options, got %s as argument %d", where,
      #value > 0 and not getmetatable(value) and "a second list" or check.show(value), at)
  end
  all.listed = at == 1
  for name, entry in pairs(check.options(where, value, known)) do
    if all[name] ~= nil then check.fail("%s: option '%s' is given twice", where, name) end
    all[name] = entry
  end
end

--- A constructor's arguments as one table of sizes and options: `f{2, 3, dtype=}`, `f({2, 3}, {dtype=})`,
-- `f(2, 3)` or `f(2, 3, {dtype=})`. A last nil stands for no options.
function create.arguments(where, known, ...)
  local count, first = select("#", ...), ...
  if count == 1 and type(first) == "table" and not getmetatable(first) then
    return check.options(where, first, known)
  end
  local all = {}
  for at = 1, count do
    local value = select(at, ...)
    if value ~= nil or at < count or at == 1 then add_argument(where, known, all, at, count, value) end
  end
  all.listed = nil
  return all
end

--- The sizes in such a table, as C has them, and how many they are.
function create.sizes(where, options)
  local sizes = ffi.new("int64_t[8]")
  if #options > C.MOSAIC_MAX_DIMS then
    check.fail("%s: %d dims, at most %d are possible", where, #options, C.MOSAIC_MAX_DIMS)
  end
  for i = 1, #options do sizes[i - 1] = check.integer(where, ("size %d"):format(i), options[i], 0) end
  return sizes, #options
end

--- An uninitialised tensor.
function create.empty(...)
  local options = create.arguments("empty", OPTIONS, ...)
  local sizes, ndim = create.sizes("empty", options)
  return create.new("empty", sizes, ndim, options)
end

--- An uninitialised tensor of `ndim` int64 sizes; options: dtype, device, requires_grad.
function create.new(where, sizes, ndim, options)
  local c = Tensor.blank()
  check.call("mosaic_tensor_new", c, create.dtype(where, options.dtype), ndim, sizes,
    devices.resolve(where, options.device))
  local t = Tensor.wrap(c)
  return options.requires_grad and t:requires_grad_() or t
end

local function filled(where, value, ...)
  local options = create.arguments(where, OPTIONS, ...)
  local sizes, ndim = create.sizes(where, options)
  local t = create.new(where, sizes, ndim, { dtype = options.dtype, device = options.device })
  check.call("mosaic_fill", t.c, create.value(where, t.dtype, value))
  return options.requires_grad and t:requires_grad_() or t
end

--- A tensor of one value: `full({2, 3, dtype = "f64"}, 0.5)`.
function create.full(sizes, value, options) return filled("full", value, sizes, options) end
function create.zeros(...) return filled("zeros", 0, ...) end
function create.ones(...) return filled("ones", 1, ...) end

--- first, first + step, ..., up to and including last (as Lua's `for`); dtype i64 by default.
function create.arange(first, last, step, options)
  if type(step) == "table" then step, options = nil, step end
  step, options = step or 1, check.options("arange", options or {}, OPTIONS)
  for i, name in ipairs { "first", "last", "step" } do
    local value = argument.number("arange", name, (select(i, first, last, step)))
    if value - value ~= 0 then check.fail("arange: %s must be finite, got %s", name, check.show(value)) end
  end
  if step == 0 then check.fail("arange: step is 0") end
  local values, count = {}, 0
  for value = first, last, step do
    count = count + 1
    values[count] = value
  end
  return create.tensor(values, { dtype = options.dtype or "i64", device = options.device,
    requires_grad = options.requires_grad })
end

--- An i64 vector of runs on a device: each { first, step, count } gives first, first + step, ...
function create.runs(list, device)
  local count, at = 0, 0
  for _, run in ipairs(list) do count = count + run[3] end
  local values = ffi.new("int64_t[?]", count)
  for _, run in ipairs(list) do
    for i = 0, run[3] - 1 do values[at + i] = run[1] + i * run[2] end
    at = at + run[3]
  end
  local t = create.empty { count, dtype = "i64", device = device }
  check.call("mosaic_tensor_write_bytes", t.c, values, count * 8)
  return t
end

--- Sizes of a nested list; fails where it is ragged.
local function nested_sizes(data)
  local sizes, level = {}, data
  while type(level) == "table" do
    sizes[#sizes + 1] = #level
    level = level[1]
  end
  return sizes
end

local function ragged(data, sizes, depth)
  check.fail("tensor: ragged or non-numeric data at depth %d: expected %s, got %s", depth,
    depth > #sizes and "a number" or ("a list of %d"):format(sizes[depth]),
    type(data) == "table" and ("a list of %d"):format(#data) or check.show(data))
end

--- Writes a nested list into a buffer from place `at` on; returns the place behind. (A loop of its own for
-- the innermost lists: recursion is not compiled.)
local function flatten(data, sizes, depth, into, at)
  if type(data) ~= "table" or #data ~= sizes[depth] then ragged(data, sizes, depth) end
  if depth < #sizes then
    for i = 1, #data do at = flatten(data[i], sizes, depth + 1, into, at) end
    return at
  end
  for i = 1, #data do
    local value = data[i]
    if type(value) ~= "number" then ragged(value, sizes, depth + 1) end
    into[at + i - 1] = value
  end
  return at + #data
end

--- " at [2][3]": where the value with row-major number `at` stands.
local function place(sizes, at)
  local text, rest = "", at - 1
  for axis = #sizes, 1, -1 do
    text = ("[%d]%s"):format(rest % sizes[axis] + 1, text)
    rest = math.floor(rest / sizes[axis])
  end
  return #sizes > 0 and " at " .. text or ""
end

local function check_values(dtype, values, count, sizes)
  local range = RANGES[dtype]
  for i = 1, range and count or 0 do
    if not holds(range, values[i - 1]) then
      check.fail("tensor: %s%s does not fit %s", check.show(values[i - 1]), place(sizes, i), dtype)
    end
  end
end

--- The numbers in nested lists (or one number), row-major: a buffer, and how many they are.
local function read(data, sizes)
  local count = 1
  for i = 1, #sizes do count = count * sizes[i] end
  local values = doubles(count)
  if type(data) == "number" then values[0] = data else flatten(data, sizes, 1, values, 0) end
  return values, count
end

--- A tensor of nested Lua lists (or one number): `tensor({{1, 2}, {3, 4}}, {dtype = "f64"})`.
function create.tensor(data, options)
  options = check.options("tensor", options or {}, OPTIONS)
  local sizes = nested_sizes(data)
  local values, count = read(data, sizes)
  if #sizes > C.MOSAIC_MAX_DIMS then
    check.fail("tensor: %d dims, at most %d are possible", #sizes, C.MOSAIC_MAX_DIMS)
  end
  check_values(options.dtype, values, count, sizes)
  local t = create.new("tensor", ffi.new("int64_t[8]", sizes), #sizes,
    { dtype = options.dtype, device = options.device })
  check.call("mosaic_tensor_write_f64", t.c, values, count)
  return options.requires_grad and t:requires_grad_() or t
end

--- All elements, row-major, in a buffer, and how many they are.
local function buffer_of(t)
  local count = t:numel()
  local buffer = doubles(count)
  check.call("mosaic_tensor_read_f64", buffer, t.c, count)
  return buffer, count
end

--- `count` numbers of a buffer from place `at` on, as a list.
local function list_of(buffer, at, count)
  local list = new_table(count, 0)
  for i = 1, count do list[i] = buffer[at + i - 1] end
  return list
end

--- All elements, row-major, as a flat Lua list of numbers.
function Tensor:flat()
  local buffer, count = buffer_of(self)
  return (list_of(buffer, 0, count))
end

local function nest(buffer, shape, depth, at)
  local count = shape[depth]
  if depth == #shape then return list_of(buffer, at, count), at + count end
  local list = {}
  for i = 1, count do list[i], at = nest(buffer, shape, depth + 1, at) end
  return list, at
end

--- All elements as nested Lua lists (a number for a scalar).
function Tensor:tolist()
  local buffer, shape = buffer_of(self), self.shape
  return (#shape == 0 and buffer[0] or nest(buffer, shape, 1, 0))
end

local one = doubles(1)

--- The value of a tensor with one element.
function Tensor:item()
  if self:numel() ~= 1 then check.fail("item: %s has %d elements, not 1", self:describe(), self:numel()) end
  check.call("mosaic_tensor_read_f64", one, self.c, 1)
  return one[0]
end

--- One element by its 1-based indices.
function Tensor:get(...)
  local value = ffi.new "double[1]"
  check.call("mosaic_tensor_get", value, self.c, self:element_index("get", ...))
  return value[0]
end

--- Sets one element: `t:set(2, 3, value)` writes row 2, column 3.
function Tensor:set(...)
  local arguments = { ... }
  local value = create.value("set", self.dtype, table.remove(arguments))
  check.call("mosaic_tensor_set", self.c, self:element_index("set", unpack(arguments)), value)
  return self
end

--- 1-based Lua indices (negative from the end) as a C array of 0-based ones.
function Tensor:element_index(where, ...)
  local ndim, index = self.ndim, ffi.new("int64_t[8]")
  if select("#", ...) ~= ndim then
    check.fail("%s: %d indices for %s", where, select("#", ...), self:describe())
  end
  for i = 1, ndim do
    local at = check.integer(where, ("index %d"):format(i), (select(i, ...)))
    local size = tonumber(self.c.size[i - 1])
    if at == 0 then check.fail("%s: index 0 of axis %d: indices count from 1", where, i) end
    if at < -size then check.fail("%s: index %d of axis %d is not in %s", where, at, i, self:describe()) end
    index[i - 1] = at > 0 and at - 1 or at + size
  end
  return index
end

return create
