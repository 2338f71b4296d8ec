--- Which positions of a sequence of N1 x N2 the ranks of a mesh hold, of which each brings a block.
--
--   mesh_blocks(layer, comm, layout, sizes) -> { positions of rank 0, of rank 1, ... }
--
-- layer.mesh_shape = {a, c}: rank i c + j has share i of the first axis by share j of the second, both in the
-- layout, and keeps them with the second fastest; position (i, t) is number (i-1) N2 + t. sizes() -> n1, n2
-- of this rank's block; what it fails on, or blocks that do not fit together, is an error on every rank.
local check = require "mosaic.check"
local partition = require "mosaic.partition"

--- How many positions along each axis the rows and the columns of the mesh hold.
local function agree(layer, comm, layout, sizes)
  local where, a, c = layer.class_name, unpack(layer.mesh_shape)
  local blocks = comm:together(where, function()
    local n1, n2 = sizes()
    return { layout = layout }, { n1 = n1, n2 = n2 }
  end)
  local counts1, counts2 = {}, {}
  for i = 1, a do counts1[i] = blocks[(i - 1) * c + 1].n1 end
  for j = 1, c do counts2[j] = blocks[j].n2 end
  for rank, block in ipairs(blocks) do
    local n1, n2 = counts1[math.ceil(rank / c)], counts2[(rank - 1) % c + 1]
    if block.n1 ~= n1 or block.n2 ~= n2 then
      check.fail("%s: rank %d brings a block of %d x %d, but its row and column of the mesh have %d x %d",
        where, rank - 1, block.n1, block.n2, n1, n2)
    end
  end
  return counts1, counts2
end

--- The numbers of the rows by columns of two shares, columns fastest.
local function numbers(rows, columns, width)
  local list = {}
  for _, i in ipairs(rows) do
    for _, t in ipairs(columns) do list[#list + 1] = (i - 1) * width + t end
  end
  return list
end

--- The lists of the last call are kept with the layer.
return function(layer, comm, layout, sizes)
  local counts1, counts2 = agree(layer, comm, layout, sizes)
  local key = ("%s %s x %s"):format(layout, table.concat(counts1, ","), table.concat(counts2, ","))
  if layer._key == key then return layer._lists end
  local part1 = partition.of_counts(layer.class_name .. ": axis1", counts1, layout)
  local part2 = partition.of_counts(layer.class_name .. ": axis2", counts2, layout)
  local lists = {}
  for i = 0, part1.ranks - 1 do
    for j = 0, part2.ranks - 1 do
      lists[#lists + 1] = numbers(part1:positions(i), part2:positions(j), part2.rows)
    end
  end
  layer._key, layer._lists = key, lists
  return lists
end
