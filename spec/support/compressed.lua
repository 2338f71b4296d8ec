--- The truth of strategy "compressed": keys of each rank listed one by one, blocks averaged in plain Lua.
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local rows_of = require "spec.support.rows_of"

local D = 3 -- features of a head

--- Lists of positions that follow each other, at most `ratio` in each.
local function chunks(positions, ratio, apart)
  local list, last = {}, nil
  for _, position in ipairs(positions) do
    local gap = apart and last and position ~= last[#last] + 1
    if not last or #last == ratio or gap then
      last = {}
      list[#list + 1] = last
    end
    last[#last + 1] = position
  end
  return list
end

--- What a rank has for keys: lists of the positions that make up one entry each.
local function entries_of(case, part, rank)
  local node, entries = case.node_size or 1, {}
  for owner = 0, part.ranks - 1 do
    local near, pooled = math.floor(owner / node) == math.floor(rank / node), {}
    for _, position in ipairs(part:positions(owner)) do
      if near or position <= (case.global_tokens or 0) then
        entries[#entries + 1] = { position }
      elseif position <= (case.mask.prefix or math.huge) then
        pooled[#pooled + 1] = position
      end
    end
    for _, chunk in ipairs(chunks(pooled, case.ratio, case.mask.causal)) do entries[#entries + 1] = chunk end
  end
  return entries
end

local function is_visible(mask, query, entry)
  for _, position in ipairs(entry) do
    if mask.causal and position > query or mask.prefix and position > mask.prefix then return false end
  end
  return true
end

--- (1, entries, D): the means of x's rows.
local function means(x, entries)
  local values, list = x:flat(), {}
  for _, entry in ipairs(entries) do
    for c = 1, D do
      local sum = 0
      for _, position in ipairs(entry) do sum = sum + values[(position - 1) * D + c] end
      list[#list + 1] = sum / #entry
    end
  end
  return mosaic.tensor(list, { dtype = "f64" }):view(1, #entries, D)
end

local function masks_of(case, positions, entries)
  local keep, bias = {}, {}
  for i, query in ipairs(positions) do
    keep[i] = {}
    for j, entry in ipairs(entries) do
      keep[i][j], bias[j] = is_visible(case.mask, query, entry) and 1 or 0, math.log(#entry)
    end
  end
  return { keep = mosaic.tensor(keep, { dtype = "u8" }), bias = mosaic.tensor(bias, { dtype = "f64" }) }
end

--- Each member of an entry gets its share of the entry's gradient.
local function spread(gradient, entries, into)
  for j, entry in ipairs(entries) do
    for c = 1, D do
      for _, position in ipairs(entry) do
        local at = (position - 1) * D + c
        into[at] = into[at] + gradient[(j - 1) * D + c] / #entry
      end
    end
  end
end

--- Of a case { q, k, v, dout, dlse, mask, ratio, ... } in a partition: out, lse, dq by rank; dk, dv of all
-- rows as flat lists.
return function(case, part)
  local truth = { dk = mosaic.zeros { case.k:numel() }:flat(), dv = mosaic.zeros { case.k:numel() }:flat() }
  for rank = 0, part.ranks - 1 do
    local positions, entries = part:positions(rank), entries_of(case, part, rank)
    if #positions > 0 then
      local q, k, v = rows_of(case.q, 2, positions), means(case.k, entries), means(case.v, entries)
      local mask = { mask = masks_of(case, positions, entries) }
      local forward = dense.attention(q, k, v, mask)
      local g = dense.gradients(q, k, v, rows_of(case.dout, 2, positions):flat(),
        rows_of(case.dlse, 2, positions):flat(), mask)
      truth[rank + 1] = { out = forward.out, lse = forward.lse, dq = g.dq }
      spread(g.dk, entries, truth.dk)
      spread(g.dv, entries, truth.dv)
    end
  end
  return truth
end
