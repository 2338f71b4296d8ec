--- Which keys can matter to which queries: what a strategy need neither send nor compute.
--
-- Pure arithmetic on positions, and on the document ids of all rows. The answers err on the side of
-- "visible": tensors of keep and bias are not looked at, functions (as programs) by their range.
local Placement = require "mosaic.placement"
local values = require "mosaic.values"

local visibility = {}

local MANY = 256 -- pairs of pieces; beyond it their common extent stands for all

--- Smallest and largest row of some pieces; nil where there is none.
function visibility.extent(pieces)
  local low, high
  for _, piece in ipairs(pieces) do
    if piece[3] > 0 then
      low = math.min(low or math.huge, piece[1])
      high = math.max(high or 0, piece[1] + (piece[3] - 1) * piece[2])
    end
  end
  return low, high
end

--- Positions that queries low..high may see: from, to.
function visibility.reach(mask, low, high)
  local left = mask.window and mask.window[1] or math.huge
  local right = mask.window and mask.window[2] or math.huge
  if mask.causal then right = math.min(right, 0) end
  return low - left, math.min(high + right, mask.prefix or math.huge)
end

--- Can queries low..high see any of the pieces?
local function reaches(mask, low, high, pieces)
  local from, to = visibility.reach(mask, low, high)
  for _, piece in ipairs(pieces) do
    local last = piece[1] + (piece[3] - 1) * piece[2]
    if piece[3] > 0 and piece[1] <= to and last >= from then return true end
  end
  return false
end

local id_sets = setmetatable({}, { __mode = "k" }) -- pieces -> { ids: their list, set }

--- The set of documents that these rows belong to.
local function documents_of(ids, pieces)
  local list, known = values.of(ids), id_sets[pieces]
  if known and known.ids == list then return known.set end
  local set = {}
  for _, piece in ipairs(pieces) do
    for i = 0, piece[3] - 1 do set[list[piece[1] + i * piece[2]]] = true end
  end
  id_sets[pieces] = { ids = list, set = set }
  return set
end

local function share_document(documents, q_pieces, k_pieces)
  if documents.q.ndim > 1 or documents.k.ndim > 1 then return true end -- other ids in every batch
  local keys = documents_of(documents.k, k_pieces)
  for id in pairs(documents_of(documents.q, q_pieces)) do
    if keys[id] then return true end
  end
  return false
end

--- May a program let queries of one piece see keys of another?
local function may_pass(code, q_piece, k_piece)
  local i = { q_piece[1], q_piece[1] + (q_piece[3] - 1) * q_piece[2] }
  local j = { k_piece[1], k_piece[1] + (k_piece[3] - 1) * k_piece[2] }
  return code:range { i = i, j = j } ~= "none"
end

--- May functions of the mask let queries of a piece see any of these keys?
local function functions_pass(mask, q_piece, k_pieces)
  local codes = {}
  for _, name in ipairs { "keep", "score" } do
    if mask[name] and mask[name].range then codes[#codes + 1] = mask[name] end
  end
  if #codes == 0 then return true end
  for _, k_piece in ipairs(k_pieces) do
    local pass = k_piece[3] > 0
    for _, code in ipairs(codes) do pass = pass and may_pass(code, q_piece, k_piece) end
    if pass then return true end
  end
  return false
end

local function any_position(mask, q_pieces, k_pieces)
  if #q_pieces * #k_pieces > MANY then
    local low, high = visibility.extent(k_pieces)
    k_pieces = low and { { low, 1, high - low + 1 } } or {}
  end
  if #q_pieces > MANY then
    local low, high = visibility.extent(q_pieces)
    q_pieces = { { low, 1, high - low + 1 } }
  end
  for _, piece in ipairs(q_pieces) do
    local last = piece[1] + (piece[3] - 1) * piece[2]
    if piece[3] > 0 and reaches(mask, piece[1], last, k_pieces) and functions_pass(mask, piece, k_pieces) then
      return true
    end
  end
  return false
end

--- Can any of these queries see any of these keys?
function visibility.any(mask, q_pieces, k_pieces)
  return any_position(mask, q_pieces, k_pieces)
    and (not mask.documents or share_document(mask.documents, q_pieces, k_pieces))
end

--- Which of a rank's stored keys can matter to queries of these pieces: the first and how many.
function visibility.span(mask, q_pieces, keys, rank)
  local low, high = visibility.extent(q_pieces)
  if not low then return 1, 0 end
  if not keys:is_ascending(rank) then return 1, keys:count(rank) end
  local from, to = visibility.reach(mask, low, high)
  local before = keys:count_up_to(rank, math.max(from - 1, 0))
  return before + 1, math.max(0, keys:count_up_to(rank, to) - before)
end

--- The keys that can matter to any of all queries: a placement, and of every rank's stored keys the
-- first of them and how many.
function visibility.seen_keys(mask, queries, keys)
  local all, lists, ranges = {}, {}, {}
  for rank = 0, queries.ranks - 1 do
    for _, piece in ipairs(queries:pieces(rank)) do all[#all + 1] = piece end
  end
  for rank = 0, keys.ranks - 1 do
    local first, count = visibility.span(mask, all, keys, rank)
    ranges[rank + 1], lists[rank + 1] = { first, count }, keys:cut(rank, first, count)
  end
  return Placement(lists), ranges
end

return visibility
