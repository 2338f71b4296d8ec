--- Compares a sharded plan with the one-rank answer, forward and gradients, and says what it costs.
--
--   mosaic.verify("mesh2d", { rows = 1001, heads = 4 }, { ranks = 6, mask = "causal", layout = "zigzag" })
--
-- strategy: whatever names one. sizes: batch, heads, kv_heads, rows, key_rows, head_size (see case.lua).
-- options: ranks (virtual ones; default: the job's ranks when there are several, else 4), layout (also
-- "documents", which balances the mask's documents) and indices,
-- mask (text, see case.lua, or a mask for all rows), dtypes ({"f64", "f32"}), seed (1), quiet (false), and
-- what else mosaic.attend takes.
-- Prints for every dtype the largest error as a share of the largest value, bytes sent against the strategy's
-- formula, work and memory of the ranks; returns all that as a table whose `ok` says whether it is within
-- bounds: f64 1e-12, others twice the error of one rank in the same dtype. Where one rank errs by more than
-- the ceiling of the dtype (report.lua) its own kernels are wrong: that is out of bounds, too, and printed.
-- A layer in place of the strategy: see layer.lua.
-- An approximate strategy is compared with itself on one rank; how far it is from exact attention is printed
-- too.
local balance = require "mosaic.balance"
local case = require "mosaic.verify.case"
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local devices = require "mosaic.device"
local masks = require "mosaic.mask"
local Module = require "mosaic.nn.module"
local partition = require "mosaic.partition"
local report = require "mosaic.verify.report"
local run = require "mosaic.verify.run"
local strategy = require "mosaic.strategy"
local verify_layer = require "mosaic.verify.layer"

local PASSED_ON = { "scale", "dropout", "wire" } -- to attend
local OPTIONS = { "ranks", "layout", "indices", "mask", "dtypes", "seed", "quiet", unpack(PASSED_ON) }
local BALANCED = { zigzag = 0.03, striped = 0.03 }
local FEW_ROWS = 64 -- for each rank: below, single rows decide the balance

--- Largest magnitude of each tensor of an answer; 1 for an empty one.
local function scales(answer)
  local largest = {}
  for name, x in pairs(answer) do
    local finite = x:to("f64"):masked_fill(x:abs():eq(math.huge), 0)
    largest[name] = x:numel() > 0 and math.max(finite:abs():max():item(), 1e-300) or 1
  end
  return largest
end

--- Largest differences of two whole answers.
local function compare(got, want)
  local errors = {}
  for name, x in pairs(got) do errors[name] = x:numel() > 0 and run.distance(x, want[name]) or 0 end
  return errors
end

--- The balance that layout and strategy promise for a mask; nil where they promise nothing.
local function balance_of(job, ranks)
  local balanced = job.strategy.body.balanced
  if type(balanced) == "function" then balanced = balanced(job.strategy.options) end
  local mask = job.mask
  if not balanced or job.queries.rows < FEW_ROWS * ranks then return nil end
  if mask.documents then return job.documents_balanced and 0.05 or nil end
  return mask.causal and BALANCED[job.queries.layout]
end

--- Lengths of the documents that follow each other in a list of ids.
local function lengths_of(ids)
  local lengths, last = {}, nil
  for _, id in ipairs(ids:flat()) do
    if id ~= last then lengths[#lengths + 1] = 0 end
    lengths[#lengths], last = lengths[#lengths] + 1, id
  end
  return lengths
end

--- Index lists for layout "documents": the balanced ones of the mask's documents.
local function balanced_indices(mask, sizes, ranks)
  if not mask.documents or sizes.rows ~= sizes.key_rows then
    check.fail "verify: layout 'documents' needs mask documents, and as many keys as queries"
  end
  return balance.documents(lengths_of(mask.documents.q), ranks, { causal = mask.causal })
end

local ORDER = { "out", "lse", "dq", "dk", "dv", "dbias" }

--- Runs the job in one dtype; adds to found.errors, and the costs to found.ranks.
local function verify_dtype(comm, job, dtype, reference, found)
  local errors, ranks = run.rank(comm, job, dtype)
  local largest, alone = scales(job.truth), reference(dtype)
  local terms = math.max(job.tensors.dlse:numel(), job.keys.rows)
  local ceiling = report.ceiling(dtype, job.options.wire, largest.lse or 0, terms)
  for _, name in ipairs(ORDER) do
    local scale = largest[name]
    if errors[name] then
      found.errors[#found.errors + 1] = report.entry(name, dtype, errors[name] / scale, alone[name] / scale,
        ceiling * math.max(1, scale) / scale)
    end
  end
  found.ranks = found.ranks or ranks
end

--- Errors of one rank in each dtype, computed once.
local function one_rank(job)
  local known = {}
  return function(dtype)
    known[dtype] = known[dtype] or compare(run.truth(job, dtype), job.truth)
    return known[dtype]
  end
end

--- What one rank is to compute.
local function truth_strategy(wanted, job)
  local reference = wanted.body.reference
  if reference then return reference(job.queries, job.keys, wanted.options) end
  return wanted.body.approximate and wanted or "local"
end

local function new_job(wanted, sizes, options, ranks)
  local mask = type(options.mask) == "table" and options.mask or case.mask(options.mask, sizes)
  mask = masks.normal("verify", mask)
  local indices, by_documents = options.indices, options.layout == "documents"
  if by_documents then indices = balanced_indices(mask, sizes, ranks) end
  local layout = not by_documents and options.layout or indices and "indices"
    or mask.causal and "zigzag" or "contiguous"
  local function placed(rows)
    return partition.new { layout = layout, rows = rows, ranks = ranks, indices = indices }
  end
  local job = {
    tensors = case.tensors(sizes, options.seed or 1), mask = mask, strategy = wanted,
    queries = placed(sizes.rows), keys = placed(sizes.key_rows), options = { indices = indices },
    documents_balanced = by_documents,
  }
  job.truth_strategy = truth_strategy(wanted, job)
  for _, name in ipairs(PASSED_ON) do job.options[name] = options[name] end
  job.truth = run.truth(job, "f64")
  return job
end

--- How far the answer is from exact attention, as shares of the exact one's largest value and root mean
-- square: { max, rms }; nil where it is exact.
local function off_exact(job)
  if job.truth_strategy == "local" and not job.options.wire then return nil end
  local exact = run.truth({
    tensors = job.tensors, mask = job.mask, truth_strategy = "local",
    options = { scale = job.options.scale, dropout = job.options.dropout },
  }, "f64").out
  return {
    max = compare({ job.truth.out }, { exact })[1] / scales({ exact })[1],
    rms = (job.truth.out - exact):norm():item() / math.max(exact:norm():item(), 1e-300),
  }
end

local function title(wanted, sizes, options, job, ranks)
  local device = devices.default() ~= "cpu" and ", " .. devices.default() or ""
  return ("%s on %d ranks: %d x %d rows (%s), mask %s, %d heads (%d kv) of %d, batch %d%s"):format(
    wanted.text, ranks, sizes.rows, sizes.key_rows, job.queries.layout,
    type(options.mask) == "string" and options.mask or masks.describe(job.mask),
    sizes.heads, sizes.kv_heads, sizes.head_size, sizes.batch, device)
end

local function verify(wanted, sizes, options)
  if Module.is(wanted) then return verify_layer(wanted, sizes, options) end
  options = check.options("verify", options or {}, OPTIONS)
  wanted, sizes = strategy.get(wanted), case.sizes(sizes or {})
  local world = comms.world()
  local ranks = options.ranks or (world.size > 1 and world.size or 4)
  local job = new_job(wanted, sizes, options, ranks)
  local reference, off = one_rank(job), off_exact(job)
  local function on_rank(comm)
    local found = { title = title(wanted, sizes, options, job, ranks), errors = {}, off = off }
    for _, dtype in ipairs(options.dtypes or { "f64", "f32" }) do
      verify_dtype(comm, job, dtype, reference, found)
    end
    found.balance = balance_of(job, ranks)
    return report.judge(found)
  end
  local real = world.size > 1 and ranks == world.size
  local found = real and on_rank(world) or comms.spawn(ranks, on_rank)[1]
  if not options.quiet and (not real or world.rank == 0) then print(report.text(found)) end
  return found
end

return verify
