--- Running sums and affine recurrences: along an axis of a tensor, and from rank to rank.
--
--   scan.sum(comm, x)                      the sum of x over all lower ranks
--   scan.recur(maps, offsets, first)       X[1] = first, X[j+1] = maps[j] X[j] + offsets[j]
--   scan.across(comm, map, offset, first)  the same from rank to rank: this rank's X
--
-- Backward of each is the same thing the other way around: with G the gradient of X, the sum of what
-- reaches X[j] by any way is H[j] = maps[j]^T H[j+1] + G[j]. Ranks exchange their part in
-- ceil(log2 p) rounds of one message each. (Hillis and Steele 1986, "Data parallel algorithms".)
local Function = require "mosaic.autograd.function"
local join = require "mosaic.tensor.join"

local scan = {}

--- combine(..., combine(x of rank - 2, x of rank - 1)): over all lower ranks (reverse: higher ones); nil
-- where there are none. combine(near, far) may be any associative operation.
local function exclusive(comm, x, combine, reverse)
  local found, step, way = nil, 1, reverse and -1 or 1
  local function peer(distance)
    local rank = comm.rank + distance * way
    return rank >= 0 and rank < comm.size and rank or nil
  end
  while step < comm.size do -- x is that of the last `step` ranks
    local to, from = peer(step), peer(-step)
    local far = (to or from) and comm:sendrecv(x, to, from)
    if from then
      found = found and combine(found, far) or far
      x = combine(x, far)
    end
    step = step * 2
  end
  return found
end

local function add(near, far) return near + far end

scan.sum = Function("scan.sum", {
  forward = function(ctx, comm, x)
    ctx.comm, ctx.shape = comm, x.shape
    return exclusive(comm, x, add) or x:zeros_like()
  end,
  backward = function(ctx, g)
    return nil, exclusive(ctx.comm, g, add, true) or g:zeros_like()
  end,
  collective = true,
})

--- first, then step(i, the last one) for i = 1..count: stacked along axis 2, from the back if reversed.
local function walk(first, count, step, reverse)
  local list, last = {}, first
  list[reverse and count + 1 or 1] = first
  for i = 1, count do
    last = step(i, last)
    list[reverse and count + 1 - i or i + 1] = last
  end
  return join.stack(list, 2)
end

-- maps (b, s, h, d, d), offsets (b, s, h, d, c), first (b, h, d, c) -> (b, s + 1, h, d, c)
scan.recur = Function("scan.recur", {
  forward = function(ctx, maps, offsets, first)
    local x = walk(first, maps:size(2), function(j, last)
      return maps:select(2, j):matmul(last) + offsets:select(2, j)
    end)
    ctx:save("maps", maps)
    ctx:save("x", x)
    return x
  end,
  backward = function(ctx, g)
    local maps, count = ctx.maps, ctx.maps:size(2)
    local h = walk(g:select(2, count + 1), count, function(i, last)
      local j = count + 1 - i
      return maps:select(2, j):t():matmul(last) + g:select(2, j)
    end, true)
    local later = h:narrow(2, 2, count)
    return later:matmul(ctx.x:narrow(2, 1, count):t()), later, h:select(2, 1)
  end,
})

--- A map and its offset side by side, (b, h, d, d + c), and apart again.
local function pack(map, offset) return join.cat({ map, offset }, -1) end

local function unpack_map(packed)
  local d = packed:size(-2)
  return packed:narrow(-1, 1, d), packed:narrow(-1, d + 1, packed:size(-1) - d)
end

--- x -> near(far(x)): the map A2 A1, the offset A2 B1 + B2.
local function compose(near, far)
  local map, offset = unpack_map(near)
  local both = map:matmul(far)
  select(2, unpack_map(both)):add_(offset)
  return both
end

local function across(ctx, comm, map, offset, first)
  local before, x = exclusive(comm, pack(map, offset), compose), first
  if before then
    local all_maps, all_offsets = unpack_map(before)
    x = all_maps:matmul(first) + all_offsets
  end
  ctx.comm = comm
  ctx:save("map", map)
  ctx:save("x", x)
  return x
end

-- `first` is the same on every rank, and rank 0 gets its gradient.
local function across_backward(ctx, g)
  local after = exclusive(ctx.comm, pack(ctx.map:t(), g), compose, true)
  local later = after and select(2, unpack_map(after)) or g:zeros_like()
  local first = ctx.comm.rank == 0 and ctx.map:t():matmul(later) + g or nil
  return nil, later:matmul(ctx.x:t()), later, first
end

-- map (b, h, d, d), offset and first (b, h, d, c) -> (b, h, d, c)
scan.across = Function("scan.across", {
  forward = across, backward = across_backward, collective = true,
})

return scan
