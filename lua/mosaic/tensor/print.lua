--- tostring(tensor): its values, aligned and summarised, then its dtype, shape and device.
-- As in PyTorch: more than 1000 elements show the three first and last of each long axis; four
-- decimals, or powers of ten where the values differ by more than a factor of 1000.
local ffi = require "ffi"
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor.class"

local EDGE, THRESHOLD, WIDTH = 3, 1000, 80

--- The indices of each axis that are shown (0-based); `false` stands for the gap.
local function shown_indices(t)
  local lists, summarise = {}, t:numel() > THRESHOLD
  for axis, size in ipairs(t.shape) do
    local list = {}
    for i = 0, size - 1 do
      local gap = summarise and size > 2 * EDGE and i >= EDGE and i < size - EDGE
      if not gap then list[#list + 1] = i end
      if gap and i == EDGE then list[#list + 1] = false end
      if gap and i == EDGE then break end
    end
    if list[#list] == false then
      for i = size - EDGE, size - 1 do list[#list + 1] = i end
    end
    lists[axis] = list
  end
  return lists
end

--- The shown values as nested lists, with `false` where a gap is; calls visit for each value.
local function read(t, lists, visit)
  local index, value = ffi.new "int64_t[8]", ffi.new "double[1]"
  local function walk(axis)
    if axis > #lists then
      check.call("mosaic_tensor_get", value, t.c, index)
      visit(value[0])
      return value[0]
    end
    local items = {}
    for i, at in ipairs(lists[axis]) do
      index[axis - 1] = at or 0
      items[i] = at and walk(axis + 1)
    end
    return items
  end
  return walk(1)
end

--- What the values have in common, gathered one by one.
local function survey()
  local s = { whole = true, least = math.huge, most = 0 }
  function s.visit(x)
    local size = math.abs(x)
    if x ~= x or size == math.huge then return end
    if x % 1 ~= 0 then s.whole = false end
    if size > 0 then s.least, s.most = math.min(s.least, size), math.max(s.most, size) end
  end
  return s
end

--- The format that shows these values best.
local function format_of(s, is_float)
  if not is_float then return "%.0f" end
  local spread = s.most > 0 and (s.most / s.least > 1000 or s.most > 1e8)
  if s.whole then return spread and s.most > 1e8 and "%.4e" or "%.0f." end
  return (spread or s.least < 1e-4) and "%.4e" or "%.4f"
end

local function show(x, format)
  if x ~= x then return "nan" end
  if math.abs(x) == math.huge then return x > 0 and "inf" or "-inf" end
  return format:format(x)
end

--- One line of numbers, broken at 80 columns.
local function row(items, cell, indent, width)
  local per_line = math.max(1, math.floor((WIDTH - indent) / (width + 2)))
  local lines, line = {}, {}
  for i, x in ipairs(items) do
    line[#line + 1] = x == false and "..." or cell(x)
    if #line == per_line or i == #items then
      lines[#lines + 1] = table.concat(line, ", ")
      line = {}
    end
  end
  return "[" .. table.concat(lines, ",\n" .. (" "):rep(indent)) .. "]"
end

--- Nested lists as text: deeper levels are set apart by more empty lines.
local function layout(items, depth, level, cell, width)
  if level == depth then return row(items, cell, level, width) end
  local parts = {}
  for i, item in ipairs(items) do
    parts[i] = item == false and "..." or layout(item, depth, level + 1, cell, width)
  end
  return "[" .. table.concat(parts, "," .. ("\n"):rep(depth - level) .. (" "):rep(level)) .. "]"
end

local function text_of(t)
  if t:numel() == 0 then return "[]" end
  local s = survey()
  local values = read(t, shown_indices(t), s.visit)
  local format, width = format_of(s, t.dtype:match "f" ~= nil), 0
  if t.ndim == 0 then return show(values, format) end
  local function measure(items)
    for _, item in ipairs(items) do
      if type(item) == "table" then measure(item) end
      if type(item) == "number" then width = math.max(width, #show(item, format)) end
    end
  end
  measure(values)
  local function cell(x)
    local text = show(x, format)
    return (" "):rep(width - #text) .. text
  end
  return layout(values, t.ndim, 1, cell, width)
end

function Tensor.__tostring(t)
  return ("%s\n%s on %s%s"):format(text_of(t), t:describe(), t.device,
    t.requires_grad and ", requires_grad" or "")
end
