--- The rows of a K/V cache that this rank holds: tensors with room to grow.
--
-- k and v (batch, kv heads, capacity, d), positions (capacity) and, once there are any, documents
-- (batch, capacity); the first `rows` are in use. Room doubles when it runs out, so a row is moved
-- once on average, and there is never more than twice of what is in use or was asked for.
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local keep = require "mosaic.tensor.scope".keep

local Store = class("Store")

local AXES = { k = -2, v = -2, positions = -1, documents = -1 } -- where each has its rows

--- sizes: { batch, kv heads, 0, d }; options: dtype, device.
function Store:init(sizes, options)
  self.rows, self.capacity, self.device = 0, 0, options.device
  local room = { dtype = options.dtype, device = options.device, unpack(sizes) }
  self.tensors = {
    k = keep(create.empty(room)), v = keep(create.empty(room)),
    positions = keep(create.empty { 0, dtype = "i64", device = options.device }),
  }
end

--- The same tensor with room for so many rows.
local function enlarged(t, axis, rows, capacity)
  local sizes = t.shape
  sizes[#sizes + 1 + axis] = capacity
  sizes.dtype, sizes.device = t.dtype, t.device
  local larger = keep(create.empty(sizes))
  larger:narrow(axis, 1, rows):copy_(t:narrow(axis, 1, rows))
  return larger
end

--- Makes room for `capacity` rows in all.
function Store:reserve(capacity)
  if capacity <= self.capacity then return end
  for name, t in pairs(self.tensors) do
    self.tensors[name] = enlarged(t, AXES[name], self.rows, capacity)
  end
  self.capacity = capacity
end

--- From the first row on, keeps document ids too, for so many sequences; nil: keeps none.
function Store:start_documents(batch)
  self.tensors.documents = batch
    and keep(create.empty { batch, self.capacity, dtype = "i64", device = self.device })
end

--- Takes in `count` rows; `values` has a tensor for each name.
function Store:append(values, count)
  local rows = self.rows + count
  if rows > self.capacity then self:reserve(math.max(rows, 2 * self.capacity)) end
  for name, t in pairs(self.tensors) do
    t:narrow(AXES[name], self.rows + 1, count):copy_(values[name])
  end
  self.rows = rows
end

--- Keeps only the rows at these places (pieces { first, 1, count }, ascending), moved together.
function Store:keep(places)
  local in_front = #places == 0 or #places == 1 and places[1][1] == 1
  local index = create.runs(places, self.device)
  for name, t in pairs(in_front and {} or self.tensors) do
    t:narrow(AXES[name], 1, index:size(1)):copy_(t:index_select(AXES[name], index))
  end
  self.rows = index:size(1)
end

--- The rows in use of one of the tensors: a view.
function Store:get(name)
  return self.tensors[name]:narrow(AXES[name], 1, self.rows)
end

return Store
