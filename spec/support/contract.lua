--- What every strategy must do: the sharded answer and its gradients are those of one rank, and the bytes
-- that it sends are those of its formula.
--
--   contract(it, "ring", { ranks = {1, 2, 3}, layouts = {"contiguous"} })
--   contract(it, "hierarchical", { variant = function(p) return p % 2 == 0 and {...} or nil end })
--
-- declares the specs of a strategy (busted gives `it` to spec files only): one for each mask, over numbers
-- of ranks, awkward lengths, layouts, grouped heads and dtypes. Not every combination, but every pair.
-- The truth is spec/support/dense.lua, plain Lua doubles; the bounds are those of contract_cases.bound.
-- options: ranks, layouts, masks (functions(rows, heads) by name), lengths (a list, or function(p)),
-- dtypes, heads ({heads, kv_heads}, or a list of such), same_length (never more keys than queries),
-- variant(p) -> the strategy for p ranks, nil to leave p out; truth = "self": the answer of the same
-- strategy on one rank is the truth (approximate strategies); run(size, body) -> results of the ranks,
-- number of the first (default: virtual ones).
local mosaic = require "mosaic"
local attention = require "spec.support.attention"
local cases = require "spec.support.contract_cases"
local close = require "spec.support.close"
local rows_of = require "spec.support.rows_of"
local partition = require "mosaic.partition"
local state = require "mosaic.state"

local ORDER = { "out", "lse", "dq", "dk", "dv", "dbias" }
local KEYS = { dk = true, dv = true }

--- The rank's part of a mask: what is sharded with the rows.
local function local_mask(case, q_positions, k_positions)
  local mask, part = case.mask, {}
  for name, value in pairs(mask) do part[name] = value end
  if mask.documents then
    part.documents = {
      q = rows_of(mask.documents.q, 1, q_positions), k = rows_of(mask.documents.k, 1, k_positions),
    }
  end
  if type(mask.keep) == "table" then part.keep = rows_of(mask.keep, -2, q_positions) end
  if mask.bias then part.bias = rows_of(mask.bias, -2, q_positions):requires_grad_(not case.constant) end
  return part
end

--- Sends exactly what the strategy's formula says?
local function check_bytes(comm, sent, watched)
  local volume = watched.body.volume
  local formula = volume and volume(watched.plan, watched.sizes) or sent
  local text = ("rank %d sends %d bytes, formula %g"):format(comm.rank, sent, formula)
  assert(math.abs(sent - formula) < 0.5, text)
end

--- Attends and walks back; out, lse.
local function there_and_back(comm, q, k, v, options, dout, dlse)
  local rank = state.current
  rank.plan = {}
  local before = comm:bytes_sent() - rank.agreed_bytes
  local out, lse = mosaic.attend(q, k, v, options)
  if comm.size > 1 then check_bytes(comm, comm:bytes_sent() - rank.agreed_bytes - before, rank.plan) end
  rank.plan = nil
  mosaic.autograd.backward({ out, lse }, { dout:to(out.dtype), lse and dlse })
  return out, lse
end

--- The same in a scope: nothing that a strategy keeps from one call to the next may be a tensor of the first.
local function in_scope(...) return mosaic.scope(there_and_back, ...) end

--- Attends on this rank's rows and walks back; { out, lse, dq, dk, dv, dbias }.
local function run_rank(comm, strategy, case, queries, keys)
  local q_positions, k_positions = queries:positions(comm.rank), keys:positions(comm.rank)
  local function leaf(whole, positions) return rows_of(whole, -2, positions):requires_grad_() end
  local q, k, v = leaf(case.q, q_positions), leaf(case.k, k_positions), leaf(case.v, k_positions)
  local mask = local_mask(case, q_positions, k_positions)
  local run = case.rows % 2 == 1 and in_scope or there_and_back
  local out, lse = run(comm, q, k, v, {
    strategy = strategy, comm = comm, layout = queries.layout, mask = mask,
    indices = queries.indices and { q = queries.indices, k = keys.indices },
  }, rows_of(case.dout, -2, q_positions), rows_of(case.dlse, -1, q_positions))
  return {
    out = out, lse = lse, dq = q.grad, dk = k.grad, dv = v.grad, dbias = mask.bias and mask.bias.grad,
  }
end

local function placed(layout, rows, ranks)
  return partition.new {
    layout = layout, rows = rows, ranks = ranks,
    indices = layout == "indices" and cases.scrambled(rows, ranks) or nil,
  }
end

local function alone(strategy, case)
  local everything = placed("contiguous", case.rows, 1)
  return run_rank(mosaic.comm.alone(), strategy, case, everything, placed("contiguous", case.key_rows, 1))
end

--- Largest difference as a share of the larger of 1 and the largest expected magnitude.
local function error_of(got, want)
  local list = want:flat()
  return attention.distance(got:flat(), list) / math.max(1, attention.largest(list))
end

--- The truth about a case, and how far from it ranks may be.
local function truth_of(case, options, strategy)
  local key = options.truth == "self" and strategy or "dense"
  case.truths = case.truths or {}
  if not case.truths[key] then
    local truth = key ~= "dense" and alone(strategy, case) or cases.truth(case)
    local rounded, bounds = key == "dense" and case.dtype ~= "f64", {}
    local one_rank = rounded and alone("local", case) or truth
    for name, whole in pairs(truth) do
      bounds[name] = cases.bound(case, one_rank[name].dtype, error_of(one_rank[name], whole))
    end
    case.truths[key] = { truth, bounds }
  end
  return unpack(case.truths[key])
end

local function expect_exact(strategy, case, layout, ranks, options)
  local queries, keys = placed(layout, case.rows, ranks), placed(layout, case.key_rows, ranks)
  local truth, bounds = truth_of(case, options, strategy)
  local results, first = options.run(ranks, function(comm)
    return run_rank(comm, strategy, case, queries, keys)
  end)
  for i, result in ipairs(results) do
    for _, name in ipairs(ORDER) do
      if truth[name] then
        local positions = (KEYS[name] and keys or queries):positions((first or 0) + i - 1)
        close(result[name], rows_of(truth[name], name == "lse" and -1 or -2, positions), bounds[name])
      end
    end
  end
end

--- A failure says in which case it happened.
local function in_case(text, body, ...)
  local ok, message = pcall(body, ...)
  if type(message) == "table" then message = message.message end
  if not ok then error(("%s: %s"):format(text, message), 0) end
end

--- A leg for other kernels asks what kernels do, not again who sends what to whom.
local BRIEF = os.getenv "MOSAIC_SPECS" == "brief"

local function complete(options)
  local full = {
    ranks = BRIEF and { 1, 3, 8 } or { 1, 2, 3, 4, 5, 6, 7, 8 },
    layouts = partition.LAYOUTS, masks = cases.MASKS, heads = cases.HEADS,
    dtypes = { "f64", "f32", "bf16" },
    lengths = function(p) return { 0, 1, p - 1, p + 1, 13, 23 } end,
    run = function(size, body) return mosaic.virtual(size, body) end,
  }
  for name, value in pairs(options or {}) do full[name] = value end
  if type(full.heads[1]) == "number" then full.heads = { full.heads } end
  return full
end

return function(it, strategy, options)
  options = complete(options)
  local title = options.title or mosaic.strategy.get(strategy or options.variant(2)).text
  local names = {}
  for name in pairs(options.masks) do names[#names + 1] = name end
  table.sort(names) -- ranks of several processes declare the same specs in the same order
  for turn, mask_name in ipairs(names) do
    local make_mask = options.masks[mask_name]
    it(("equals one rank, forward and gradients: %s, mask %s"):format(title, mask_name), function()
      for case, p, layout in cases.each(options, turn, make_mask) do
        local wanted = strategy
        if options.variant then wanted = options.variant(p) end
        if wanted then
          in_case(cases.describe(case, p, layout), expect_exact, wanted, case, layout, p, options)
        end
      end
    end)
  end
end
