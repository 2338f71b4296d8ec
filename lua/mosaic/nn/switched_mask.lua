--- A mask for this rank's queries becomes one for all queries, and for this rank's part of another axis of x.
--
--   local whole = switched_mask(mask, way)
--
-- way says how x goes over from being sharded along one axis to another (switched.lua):
--   comm, counts   every rank's rows of the attended axis
--   group          1 or 2: which batch axis of q (before, after, heads, n, d) the other one is part of
--   sizes, place   the sizes of x's axes that make up that batch axis, and which of them it is
--   rows           options of mosaic.unshard for the rows
--   there          options of mosaic.switch that take x over
--
-- A single row of keep or bias that stands for all queries of its rank is written out: every rank may have
-- another one. Functions know their rows by position and go along as they are.
local parallel = require "mosaic.parallel"
local switch = require "mosaic.switch"
local Tensor = require "mosaic.tensor"

local KEEP_DIMS, ID_DIMS = 5, 3 -- (before, after, heads, queries, keys); (before, after, rows)

local function product(list)
  local total = 1
  for _, size in ipairs(list) do total = total * size end
  return total
end

--- With leading axes of size 1 up to `ndim`.
local function padded(t, ndim)
  local shape = t.shape
  while #shape < ndim do table.insert(shape, 1, 1) end
  return t:reshape(shape)
end

--- The batch axis as the axes of x that it is made of, and which of them is the one to be cut.
local function unfold(t, way)
  local shape = t.shape
  table.remove(shape, way.group)
  for i, size in ipairs(way.sizes) do table.insert(shape, way.group + i - 1, size) end
  return t:reshape(shape), way.group + way.place - 1
end

local function fold(t, way)
  local shape, sizes = t.shape, {}
  for i = 1, #way.sizes do sizes[i] = table.remove(shape, way.group) end
  table.insert(shape, way.group, product(sizes))
  return t:reshape(shape)
end

local function all_rows(t, axis, way)
  way.rows.axis = axis
  return parallel.unshard(t, way.rows)
end

--- t holds one slice along `axis` for each of this rank's queries.
local function carry_rows(t, axis, way)
  if t:size(way.group) == 1 and product(way.sizes) ~= 1 then -- the same for all that will be dealt out
    return all_rows(t, axis, way)
  end
  local unfolded, at = unfold(t, way)
  return fold((switch(unfolded, axis, at, way.there)), way)
end

local function carry_ids(ids, way)
  if ids.ndim == 1 then return all_rows(ids, 1, way) end
  return carry_rows(padded(ids, ID_DIMS), -1, way)
end

--- keep or bias
local function carry_tensor(t, way)
  t = padded(t, KEEP_DIMS)
  local own = way.counts[way.comm.rank + 1]
  if t:size(-2) ~= own then
    local shape = t.shape
    shape[KEEP_DIMS - 1] = own
    t = own == 0 and t:narrow(-2, 1, 0) or t:expand(shape)
  end
  return carry_rows(t, -2, way)
end

return function(mask, way)
  local whole = {}
  if way.comm.size == 1 and way.rows.layout ~= "indices" then return mask end
  for name, value in pairs(mask) do whole[name] = value end
  local ids = mask.documents
  if ids then
    local q = carry_ids(ids.q, way)
    whole.documents = { q = q, k = ids.k == ids.q and q or carry_ids(ids.k, way) }
  end
  for _, name in ipairs { "keep", "bias" } do
    if Tensor.is(mask[name]) then whole[name] = carry_tensor(mask[name], way) end
  end
  return whole
end
