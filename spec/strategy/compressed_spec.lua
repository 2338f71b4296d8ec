local mosaic = require "mosaic"
local close = require "spec.support.close"
local compressed = require "spec.support.compressed"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local program = require "spec.support.program"
local rows_of = require "spec.support.rows_of"
local worlds = require "spec.support.worlds"

local D, HEADS = 3, 2

local function options_of(case)
  return { "compressed", ratio = case.ratio, node_size = case.node_size, global_tokens = case.global_tokens,
    pool = case.pool }
end

local function new_case(rows, changes)
  local case = {
    q = fill({ HEADS, rows, D }, { seed = 1 }), k = fill({ 1, rows, D }, { seed = 2 }),
    v = fill({ 1, rows, D }, { seed = 3 }), dout = fill({ HEADS, rows, D }, { seed = 4 }),
    dlse = fill({ HEADS, rows }, { seed = 5 }), mask = {},
  }
  for name, value in pairs(changes) do case[name] = value end
  return case
end

local function run_rank(comm, case, part, wire)
  local positions = part:positions(comm.rank)
  local function leaf(x) return rows_of(x, 2, positions):requires_grad_() end
  local q, k, v = leaf(case.q), leaf(case.k), leaf(case.v)
  local out, lse = mosaic.attend(q, k, v, {
    strategy = options_of(case), comm = comm, layout = part.layout, indices = part.indices, mask = case.mask,
    wire = wire,
  })
  mosaic.autograd.backward({ out, lse },
    { rows_of(case.dout, 2, positions), rows_of(case.dlse, 2, positions) })
  return { out = out, lse = lse, dq = q.grad, dk = k.grad, dv = v.grad }
end

local function check_case(case, part)
  local truth = compressed(case, part)
  local function whole(name) return mosaic.tensor(truth[name], { dtype = "f64" }):view(case.k.shape) end
  local dk, dv = whole "dk", whole "dv"
  for i, result in ipairs(mosaic.virtual(part.ranks, function(comm) return run_rank(comm, case, part) end)) do
    local positions = part:positions(i - 1)
    for name, expected in pairs(truth[i] or {}) do close(result[name]:flat(), expected) end
    close(result.dk, rows_of(dk, 2, positions))
    close(result.dv, rows_of(dv, 2, positions))
  end
end

local function part_of(layout, rows, ranks)
  local indices = layout == "indices" and {} or nil
  for r = 1, indices and ranks or 0 do indices[r] = {} end
  for i = 1, indices and rows or 0 do table.insert(indices[(i * 5 + math.floor(i / 4)) % ranks + 1], 1, i) end
  return mosaic.partition.new { layout = layout, rows = rows, ranks = ranks, indices = indices }
end

describe("compressed", function()
  local CAUSAL = { causal = function() return { causal = true } end }
  local NONE = {
    none = function() return {} end,
    prefix = function(rows) return { prefix = math.floor(rows / 3) } end,
  }
  local tiers = { "compressed", ratio = 1, node_size = 2, global_tokens = 5 }
  local few = { 0, 1, 4, 13 }
  contract(it, { "compressed", ratio = 1 },
    { masks = CAUSAL, layouts = { "contiguous", "zigzag" }, ranks = { 1, 4, 5 }, lengths = few,
      same_length = true })
  contract(it, { "compressed", ratio = 1 }, { masks = NONE, ranks = { 2, 5 }, lengths = few })
  contract(it, tiers,
    { masks = CAUSAL, layouts = { "contiguous", "zigzag" }, ranks = { 2, 3, 5 }, lengths = few,
      same_length = true })
  contract(it, tiers, { masks = NONE, ranks = { 3, 5 }, lengths = few, same_length = true })

  local TIERS = {
    { ratio = 3 }, { ratio = 4, global_tokens = 6 }, { ratio = 2, node_size = 2 },
    { ratio = 100, node_size = 2, global_tokens = 1 }, { ratio = 3, global_tokens = 100 },
  }

  for mask_name, mask in pairs { none = {}, causal = { causal = true }, prefix = { prefix = 13 },
    ["causal and prefix"] = { causal = true, prefix = 11 } } do
    it("attends to means with log sizes, forward and gradients: mask " .. mask_name, function()
      for _, tier in ipairs(TIERS) do
        for _, layout in ipairs(mosaic.partition.LAYOUTS) do
          for _, ranks in ipairs { 1, 4 } do
            for _, rows in ipairs { 0, 2, 23 } do
              local case = new_case(rows, tier)
              case.mask = mask
              local apart = layout == "contiguous" or layout == "zigzag"
              if apart or not mask.causal then check_case(case, part_of(layout, rows, ranks)) end
            end
          end
        end
      end
    end)
  end

  it("is exact where the keys and values of a block are equal", function()
    local rows, ranks = 26, 4
    local part = mosaic.partition.new { rows = rows, ranks = ranks } -- 7, 7, 6, 6 rows
    local list = {}
    for rank = 0, ranks - 1 do
      for i = 0, part:count(rank) - 1 do list[#list + 1] = 1 + rank * 2 + math.floor(i / 4) end
    end
    local function constant(seed) return rows_of(fill({ 1, 8, D }, { seed = seed }), 2, list) end
    for _, mask in ipairs { {}, { causal = true }, { prefix = 18 } } do
      local case = new_case(rows, { ratio = 4, k = constant(2), v = constant(3), mask = mask })
      local out, lse = mosaic.sdpa(case.q, case.k, case.v, { mask = mask })
      for i, result in ipairs(mosaic.virtual(ranks, function(comm) return run_rank(comm, case, part) end)) do
        close(result.out, rows_of(out, 2, part:positions(i - 1)))
        close(result.lse, rows_of(lse, 2, part:positions(i - 1)))
      end
    end
  end)

  it("learns how to pool: gradients of a pool with weights of its own", function()
    local part, weights = part_of("contiguous", 17, 3), { 0.5, -0.25, 0.125, 0.75 }
    local function run(values, wants)
      return mosaic.virtual(3, function(comm)
        local weight = mosaic.tensor(values, { dtype = "f64", requires_grad = wants })
        local case = new_case(17, { ratio = 4, pool = function(x)
          local m = x:size(-2)
          return (x * weight:narrow(1, 1, m):softmax(1):view(m, 1)):sum(-2)
        end })
        local result = run_rank(comm, case, part)
        local positions = part:positions(comm.rank)
        local loss = (result.out * rows_of(case.dout, 2, positions)):sum():item()
          + (result.lse * rows_of(case.dlse, 2, positions)):sum():item()
        local total = comm:all_reduce(mosaic.tensor({ loss }, { dtype = "f64" })):item()
        return { total, wants and comm:all_reduce(weight.grad):flat() }
      end)[1]
    end
    local gradient = run(weights, true)[2]
    for i = 1, 4 do
      local function at(step)
        local moved = { unpack(weights) }
        moved[i] = moved[i] + step
        return run(moved, false)[1]
      end
      close(gradient[i], (at(1e-5) - at(-1e-5)) / 2e-5, 1e-8)
    end
  end)

  it("sends pooled rows and nothing else, as many bytes as it says", function()
    worlds(function(comm)
      local p, n, d = comm.size, 12, 8
      local x = fill({ HEADS, n, d }, { dtype = "f32", seed = comm.rank })
      local function bytes(options, attend)
        options[1] = "compressed"
        local plan
        comm:reset_counters()
        local body = mosaic.strategy.get("compressed").body
        attend = attend or {}
        attend.comm, attend.strategy = comm, function(c, q, k, v, given)
          plan = given:with { options = options }
          return body.attend(c, q, k, v, plan)
        end
        mosaic.attend(x, x, x, attend)
        local sent = comm:counters("all_to_all").bytes_sent
        local sizes = { batch = 1, heads = HEADS, kv_heads = HEADS, d = d, bytes = 4 }
        assert.equal(sent, body.volume(plan, sizes))
        return sent
      end
      local row = 2 * HEADS * d * 4 -- K and V
      assert.equal((p - 1) * n * row, bytes { ratio = 1 })
      assert.equal((p - 1) * n / 4 * row, bytes { ratio = 4 })
      assert.equal((p - 1) * row, bytes { ratio = 12 })
      assert.equal((p - 1) * 3 * row, bytes { ratio = 5 })
      assert.equal((p - 1) * n / 4 * 2 * HEADS * (d + 4), bytes({ ratio = 4 }, { wire = "int8" }))
      assert.equal((p - 1 - comm.rank) * n / 4 * row, bytes({ ratio = 4 }, { mask = { causal = true } }))
      local own = comm.rank == 0 and 5 + 2 or 3 -- five rows and two blocks of what is left
      assert.equal((p - 1) * own * row, bytes { ratio = 4, global_tokens = 5 })
      local mates = math.min(2, p - comm.rank + comm.rank % 2) - 1
      assert.equal((mates * n + (p - 1 - mates) * n / 4) * row, bytes { ratio = 4, node_size = 2 })
      assert.equal((p - 1) * n * row, bytes { ratio = 4, node_size = 8 })
    end)
  end)

  it("rounds what travels, and only that", function()
    local part = part_of("contiguous", 24, 3)
    local case = new_case(24, { ratio = 4 })
    local exact = mosaic.virtual(3, function(comm) return run_rank(comm, case, part) end)
    local rounded = mosaic.virtual(3, function(comm) return run_rank(comm, case, part, "int8") end)
    for i = 1, 3 do
      local difference = (rounded[i].out - exact[i].out):abs():max():item()
      assert(difference > 0 and difference < 0.02, difference)
    end
  end)

  it("says that it is approximate, once and on one rank", function()
    local script = [[
      local mosaic = require "mosaic"
      local x = mosaic.ones { 2, 3, 4 }
      for _ = 1, 2 do mosaic.attend(x, x, x, { strategy = "compressed" }) end
    ]]
    local result = program(("--virtual 3 -e '%s'"):format(script))
    assert.equal(0, result.status)
    local count = select(2, result.err:gsub("strategy 'compressed' is approximate: keys and values", ""))
    assert.equal(1, count)
  end)

  it("reports its error, bytes and memory", function()
    local rows, ranks = 40, 4
    mosaic.virtual(ranks, function(comm)
      local q, k, v = fill({ HEADS, rows, D }, { seed = 1 }), fill({ HEADS, rows, D }, { seed = 2 }),
        fill({ HEADS, rows, D }, { seed = 3 })
      local whole, along = mosaic.sdpa(q, k, v), { axis = 2, comm = comm }
      q, k, v = mosaic.shard(q, along), mosaic.shard(k, along), mosaic.shard(v, along)
      local function report(strategy, options)
        options = options or {}
        options.comm, options.strategy = comm, strategy
        return mosaic.compressed.report(q, k, v, options)
      end
      local out = mosaic.unshard(mosaic.attend(q, k, v,
        { comm = comm, strategy = { "compressed", ratio = 5 } }), along)
      local found, row = report { "compressed", ratio = 5 }, 2 * HEADS * D * 8
      close(found.max, ((out - whole):abs():max() / whole:abs():max()):item())
      close(found.rms, ((out - whole):norm() / whole:norm()):item())
      assert.same({ 3 * 2 * row, 3 * 10 * row, (10 + 6) * row, 40 * row },
        { found.bytes, found.exact_bytes, found.memory, found.exact_memory })
      assert(found.rms > 0.1)
      close(report({ "compressed", ratio = 1 }).rms, 0)
      assert(report({ "compressed", ratio = 1 }, { wire = "int8" }).rms > 1e-4)
      fails("compressed.report: the strategy is 'compressed', got 'ring'", function() report "ring" end)
      fails("mask.window tells apart", function() report(nil, { mask = { window = 2 } }) end)
      assert.is_nil(require "mosaic.state".current.plan)
    end)
  end)

  it("refuses on every rank, before anything is sent, what a block cannot tell apart", function()
    mosaic.virtual(3, function(comm)
      local x = fill { HEADS, 4, D }
      local function refuses(text, attend, options)
        options = options or {}
        options[1] = "compressed"
        attend.comm, attend.strategy = comm, options
        comm:reset_counters()
        fails(text, function() mosaic.attend(x, x, x, attend) end)
        assert.equal(0, comm:counters("all_to_all").calls)
      end
      refuses("compressed: mask.window tells apart the keys of a block; masks causal and prefix do not",
        { mask = { window = 3 } })
      refuses("compressed: mask.documents tells apart", { mask = { documents = { 1, 1, 2, 2 } } })
      refuses("compressed: mask.alibi tells apart", { mask = { alibi = { 1, 2 } } })
      refuses("compressed: mask.bias tells apart", { mask = { bias = mosaic.zeros { 4, 12 } } })
      refuses("under a causal mask some queries of rank 1 see only a part of the keys 1..10 of rank 0; "
        .. "use layout contiguous or zigzag", { mask = { causal = true }, layout = "striped" })
      refuses("compressed: ratio must be an integer of at least 1, got 0", {}, { ratio = 0 })
      refuses("compressed: node_size must be an integer of at least 1, got 1.5", {}, { node_size = 1.5 })
      refuses("compressed: global_tokens must be an integer of at least 0, got -1", {},
        { global_tokens = -1 })
      refuses("strategy 'compressed': unknown option 'ration', did you mean 'ratio'?", {}, { ration = 4 })
      refuses("compressed: dropout tells apart", { dropout = { p = 0.5, seed = 1 } })
      fails("pool: blocks [2,1,4,3] must become rows [2,1,3], got f64 [2,1,4]", function()
        local function pool(y) return y:sum(-1) end
        mosaic.attend(x, x, x, { comm = comm, strategy = { "compressed", pool = pool } })
      end)
    end)
  end)
end)
