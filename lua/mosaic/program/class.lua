--- A program: what a user's function of scores or keys computes, in a form that kernels run.
--
--   program:range { i = { 1, 128 }, j = { 257, 384 } } -> "none", "some" or "all"
--   program:describe() -> text                what ranks must agree on
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local class = require "mosaic.class"
local hash = require "mosaic.hash"
local schedule = require "mosaic.program.schedule"
local scope = require "mosaic.tensor.scope"

local Program = class("Program")

local MOST_STEPS, MOST_REGISTERS = 4096, 128
local FAR = 2 ^ 53 -- positions where nothing is said
local SHORT = 160 -- characters of a program that are shown

--- Does the value differ between the keys of one query?
local function find_varying(order)
  local varying = {}
  for _, node in ipairs(order) do
    varying[node] = node.op == "score" or node.op == "key" or varying[node.a or 0] or varying[node.b or 0]
      or varying[node.c or 0] or false
  end
  return varying
end

local function fill_steps(order, register)
  local steps, varying = ffi.new("mosaic_program_step[?]", #order), find_varying(order)
  for i, node in ipairs(order) do
    local step = steps[i - 1]
    step.op, step.to = C["MOSAIC_PROGRAM_" .. node.op:upper()], register[node]
    step.a, step.b, step.c = register[node.a] or 0, register[node.b] or 0, register[node.c] or 0
    step.value = node.op == "lookup" and node.value - 1 or node.value or 0
    step.varies = varying[node]
  end
  return steps
end

local function fill_tables(tables)
  local list = ffi.new("const mosaic_tensor *[?]", math.max(1, #tables))
  for i, known in ipairs(tables) do list[i - 1] = known.values.c end
  return list
end

--- The C struct; what it points to stays alive with self.
local function build(self, result, valid, slope)
  local order, count = schedule.order({ result, valid }, { slope })
  local register, registers = schedule.registers(order, { result, valid, slope })
  if #order > MOST_STEPS or registers > MOST_REGISTERS then
    check.fail("%s computes too much: %d steps with %d values at a time, at most %d and %d are possible",
      self.where, #order, registers, MOST_STEPS, MOST_REGISTERS)
  end
  self.order, self.steps, self.list = order, fill_steps(order, register), fill_tables(self.graph.tables)
  local c = ffi.new "mosaic_program"
  c.count, c.value_count, c.registers = #order, count, registers
  c.result, c.valid, c.slope = register[result], register[valid], slope and register[slope] or -1
  c.steps, c.table_count, c.tables = self.steps, #self.graph.tables, self.list
  return c
end

--- kind: "score" or "keep"; graph: all nodes; result: what the function returns; valid: are all
-- lookups that count inside of their tables; slope: d result / d score (scores only).
function Program:init(where, kind, graph, result, valid, slope)
  self.where, self.kind, self.graph = where, kind, graph
  self.c = build(self, result, valid, slope)
end

--- The C struct for kernels on a device (full name), with its tables there.
function Program:on(device)
  if device == "cpu" or #self.graph.tables == 0 then return self.c end
  self.copies = self.copies or {}
  local copy = self.copies[device]
  if not copy then
    copy = { c = ffi.new("mosaic_program", self.c), tables = {} }
    for i, known in ipairs(self.graph.tables) do
      copy.tables[i] = { values = scope.keep(known.values:to { device = device }) }
    end
    copy.list = fill_tables(copy.tables)
    copy.c.tables = copy.list
    self.copies[device] = copy
  end
  return copy.c
end

function Program.is(value) return getmetatable(value) == Program end

local ARGUMENTS = { score = "s", batch = "b", head = "h", query = "i", key = "j" }

local function name_of(node)
  if node.op == "constant" then return ("%.14g"):format(node.value) end
  return ARGUMENTS[node.op] or "#" .. node.id
end

--- The steps in words: "#3 = sub(i, j); #5 = le(#3, 16)".
local function listing(order)
  local parts = {}
  for _, node in ipairs(order) do
    if node.a then
      local names = { name_of(node.a), node.b and name_of(node.b), node.c and name_of(node.c) }
      local op = node.op == "lookup" and "table" .. node.value or node.op
      parts[#parts + 1] = ("%s = %s(%s)"):format(name_of(node), op, table.concat(names, ", "))
    end
  end
  return table.concat(parts, "; ")
end

--- A number that differs for other steps or tables (by all but chance).
local function fingerprint(text, tables)
  local sum = hash.text(text)
  for _, known in ipairs(tables) do
    sum = hash.numbers(known.values:flat(), hash.numbers(known.shape, sum))
  end
  return sum
end

--- The program in short, and a number that stands for the whole of it.
function Program:describe()
  if not self.text then
    local text = listing(self.order)
    local short = #text > SHORT and text:sub(1, SHORT) .. "..." or text
    self.text = ("function {%s} %010.0f"):format(short, fingerprint(text .. self.c.result, self.graph.tables))
  end
  return self.text
end

local function interval(name, value)
  local low, high = value, value
  if value == nil then low, high = 1, FAR end
  if type(value) == "table" then low, high = value[1], value[2] end
  if type(low) ~= "number" or type(high) ~= "number" or not (low <= high) then
    check.fail("program:range: %s must be a number or { low, high }, got %s", name, check.show(value))
  end
  return low, high
end

--- What the program lets through of all queries i, keys j, heads h and batch entries b in these
-- intervals ({ low, high }, a number, or nil: any): surely "none", surely "all", or "some", which
-- may be any part. (For scores: "none" where all are minus infinity.)
function Program:range(box)
  check.options("program:range", box, { "b", "h", "i", "j" })
  local low, high, out = ffi.new "double[4]", ffi.new "double[4]", ffi.new "mosaic_program_extent[1]"
  for at, name in ipairs { "b", "h", "i", "j" } do low[at - 1], high[at - 1] = interval(name, box[name]) end
  check.call("mosaic_program_range", out, self.c, low, high)
  return out[0] == C.MOSAIC_PROGRAM_NONE and "none" or out[0] == C.MOSAIC_PROGRAM_ALL and "all" or "some"
end

return Program
