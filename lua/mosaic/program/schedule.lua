--- The order in which a program's nodes are computed, and the registers that they are kept in.
local schedule = {}

local function operands(node) return { node.a, node.b, node.c } end

--- Appends what node needs and node itself to the order, unless they are there.
local function visit(node, order, placed)
  if placed[node] then return end
  placed[node] = true
  for i = 1, 3 do
    local operand = operands(node)[i]
    if operand then visit(operand, order, placed) end
  end
  order[#order + 1] = node
end

--- Nodes in order: all that `first` (nodes) need, then what `rest` need besides. And how many the
-- first are.
function schedule.order(first, rest)
  local order, placed = {}, {}
  for _, node in ipairs(first) do visit(node, order, placed) end
  local count = #order
  for _, node in ipairs(rest) do visit(node, order, placed) end
  return order, count
end

--- node -> the place in the order of the last one that reads it; results are read at the end.
local function last_uses(order, results)
  local last = {}
  for place, node in ipairs(order) do
    for i = 1, 3 do
      local operand = operands(node)[i]
      if operand then last[operand] = place end
    end
  end
  for _, node in ipairs(results) do last[node] = #order + 1 end
  return last
end

--- node -> register (from 0), and how many registers there are. A node's register is never that of
-- an operand: kernels write one while they read the others.
function schedule.registers(order, results)
  local last, register, free, count = last_uses(order, results), {}, {}, 0
  for place, node in ipairs(order) do
    register[node] = table.remove(free) or count
    count = math.max(count, register[node] + 1)
    for i = 1, 3 do
      local operand = operands(node)[i]
      if operand and last[operand] == place then
        free[#free + 1], last[operand] = register[operand], 0
      end
    end
  end
  return register, count
end

return schedule
