--- What each kind of attention case lets a query see, twice: as a rule for the plain implementation,
-- sees(i, j) and bias(h, i, j) with i, j and h counted from 0, and as the mask of mosaic.sdpa.
--
-- A kind is a function(parameters) -> { sees, bias, mask(cut) }, where cut(t, axis) gives this rank's
-- rows of a tensor that follows the queries.
local dilated = require "spec.support.dilated"
local mosaic = require "mosaic"

local function always() return true end
local function causal(i, j) return j <= i end

local function same_document(documents)
  return function(i, j) return documents[i + 1] == documents[j + 1] end
end

local function document_mask(p, is_causal)
  return function(cut)
    return { causal = is_causal, documents = cut(mosaic.tensor(p.documents, { dtype = "i64" }), 1) }
  end
end

local function both(a, b)
  return function(i, j) return a(i, j) and b(i, j) end
end

local function within(window)
  return function(i, j) return math.abs(i - j) <= window end
end

local kinds = {}

function kinds.full()
  return { sees = always, mask = function() return {} end }
end

function kinds.causal()
  return { sees = causal, mask = function() return { causal = true } end }
end

function kinds.window(p)
  return { sees = within(p.window), mask = function() return { window = p.window } end }
end

function kinds.causal_window(p)
  return { sees = both(causal, within(p.window)),
    mask = function() return { causal = true, window = p.window } end }
end

function kinds.prefix(p)
  return { sees = function(_, j) return j < p.prefix end, mask = function() return { prefix = p.prefix } end }
end

function kinds.documents(p)
  return { sees = same_document(p.documents), mask = document_mask(p, false) }
end

function kinds.documents_causal(p)
  return { sees = both(causal, same_document(p.documents)), mask = document_mask(p, true) }
end

function kinds.alibi_causal(p)
  local slopes = {}
  for h = 0, p.Hq - 1 do slopes[h + 1] = 2 ^ (-8 * (h + 1) / p.Hq) end
  return { sees = causal, bias = function(h, i, j) return -slopes[h + 1] * (i - j) end,
    mask = function() return { causal = true, alibi = slopes } end }
end

function kinds.empty_rows(p)
  local keep = {}
  for i = 0, p.Nq - 1 do keep[i + 1] = i >= p.first and 1 or 0 end
  return { sees = both(causal, function(i) return i >= p.first end),
    mask = function(cut)
      return { causal = true, keep = cut(mosaic.tensor(keep, { dtype = "u8" }):view(1, 1, p.Nq, 1), 3) }
    end }
end

--- As dense attention, keys count as often as they are met.
function kinds.dilated(p)
  local times = dilated.times(p, p.Hq)
  return {
    strategy = { "dilated", segments = p.segments, rates = p.rates }, sees = p.causal and causal or always,
    bias = function(h, i, j) return math.log(times(h, i, j)) end,
    mask = function() return { causal = p.causal } end,
    closed_form = function(cut)
      local bias = dilated.bias(p, p.Hq, p.Nq, p.Nk):view(1, p.Hq, p.Nq, p.Nk)
      return { causal = p.causal, bias = cut(bias, 3) }
    end,
  }
end

return kinds
