local mosaic = require "mosaic"
local close = require "spec.support.close"
local cases = require "spec.support.contract_cases"
local dense = require "spec.support.dense"
local dilated = require "spec.support.dilated"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local rows_of = require "spec.support.rows_of"
local partition = mosaic.partition

local NAMES = { "out", "lse", "dq", "dk", "dv", "dbias" }

-- ---- the truth: dense attention with the logarithm of how many rates select a pair as its bias -------

--- The mask with the pattern in it; a user's score function comes before that.
local function with_pattern(given, pattern, heads, rows)
  local mask, bias = {}, dilated.bias(pattern, heads, rows, rows)
  for name, value in pairs(given) do mask[name] = value end
  if mask.score then
    local times = dilated.times(pattern, heads)
    function mask.score(s, b, h, i, j)
      return given.score(s, b, h, i, j) + math.log(times(h - 1, i - 1, j - 1))
    end
    dense.slopes[mask.score] = dense.slopes[given.score]
  else
    mask.bias = mask.bias and mask.bias + bias or bias
  end
  return mask
end

local function new_case(pattern, heads, kv_heads, rows, make_mask)
  local case = cases.new(rows, rows, { heads, kv_heads }, "f64", make_mask or cases.MASKS.none)
  case.pattern = pattern
  local options = { mask = with_pattern(case.mask, pattern, heads, rows) }
  local forward = dense.attention(case.q, case.k, case.v, options)
  local g = dense.gradients(case.q, case.k, case.v, case.dout:flat(), case.dlse:flat(), options)
  local function like(list, t) return mosaic.tensor(list, { dtype = "f64" }):view(t.shape) end
  case.truth = {
    out = like(forward.out, case.q), lse = like(forward.lse, case.dlse),
    dq = like(g.dq, case.q), dk = like(g.dk, case.k), dv = like(g.dv, case.v),
    dbias = case.mask.bias and like(g.dbias, options.mask.bias),
  }
  if case.mask.bias and case.mask.bias.ndim < 3 then case.truth.dbias = case.truth.dbias:sum(1) end
  return case
end

local function local_mask(mask, positions)
  local own = {}
  for name, value in pairs(mask) do own[name] = value end
  if mask.documents then own.documents = rows_of(mask.documents.q, 1, positions) end
  if mosaic.Tensor.is(mask.keep) then own.keep = rows_of(mask.keep, -2, positions) end
  if mask.bias then own.bias = rows_of(mask.bias, -2, positions):requires_grad_() end
  return own
end

local function run_rank(comm, case, part, more)
  local positions = part:positions(comm.rank)
  local function leaf(x) return rows_of(x, -2, positions):requires_grad_() end
  local q, k, v, mask = leaf(case.q), leaf(case.k), leaf(case.v), local_mask(case.mask, positions)
  local out, lse = mosaic.attend(q, k, v, {
    strategy = dilated.strategy(case.pattern, more), comm = comm, mask = mask,
    layout = part.layout, indices = part.indices,
  })
  mosaic.autograd.backward({ out, lse },
    { rows_of(case.dout, -2, positions), rows_of(case.dlse, -1, positions) })
  return { out = out, lse = lse, dq = q.grad, dk = k.grad, dv = v.grad, dbias = mask.bias and mask.bias.grad }
end

local function check_case(case, layout, ranks, more)
  local part = partition.new {
    layout = layout, rows = case.rows, ranks = ranks,
    indices = layout == "indices" and cases.scrambled(case.rows, ranks) or nil,
  }
  local results = mosaic.virtual(ranks, function(comm) return run_rank(comm, case, part, more) end)
  for i, result in ipairs(results) do
    for _, name in ipairs(NAMES) do
      local whole, axis = case.truth[name], name == "lse" and -1 or -2
      if whole then close(result[name], rows_of(whole, axis, part:positions(i - 1))) end
    end
  end
end

--- Lengths that no segment divides, and shorter than any.
local function check_pattern(pattern, heads, kv_heads, more)
  for number, rows in ipairs { 0, 1, 5, 29 } do
    local case = new_case(pattern, heads, kv_heads, rows, number % 2 == 0 and cases.MASKS.causal)
    for n, ranks in ipairs(number % 2 == 0 and { 1, 3, 5, 8 } or { 2, 4, 5 }) do
      check_case(case, partition.LAYOUTS[(n + heads) % 4 + 1], ranks, more)
    end
  end
end

local THREE = { segments = { 4, 9, 20 }, rates = { 1, 2, 4 } }

describe("dilated", function()
  it("equals dense attention with bias log c, c the rates that select both: forward and gradients", function()
    check_pattern(THREE, 5, 5)
    check_pattern({ segments = { 7 }, rates = { 3 } }, 2, 2)
    check_pattern({ segments = { 16, 3, 3 }, rates = { 1, 1, 2 } }, 3, 1)
  end)

  it("cuts the heads into runs by offset, or into runs by rate", function()
    check_pattern(dilated.strategy(THREE, { offsets = "groups" }), 6, 3)
    check_pattern(dilated.strategy(THREE, { offsets = "groups" }), 3, 1) -- fewer heads than offsets
    check_pattern(dilated.strategy(THREE, { heads = "partition" }), 7, 7)
    check_pattern(dilated.strategy(THREE, { heads = "partition", offsets = "groups" }), 8, 4)
  end)

  it("finds the key/value heads of each offset, whatever the group", function()
    for _, heads in ipairs { { 6, 2 }, { 12, 6 }, { 4, 1 }, { 8, 4 } } do
      check_pattern({ segments = { 6, 15 }, rates = { 2, 3 } }, unpack(heads))
    end
  end)

  it("lets rows change places with heads: all offsets go by the numbers of the whole", function()
    check_pattern(THREE, 5, 5, { parallel = "heads" })
    check_pattern(dilated.strategy(THREE, { offsets = "groups" }), 6, 2, { parallel = "heads" })
    check_pattern(dilated.strategy(THREE, { heads = "partition" }), 4, 4, { parallel = "heads" })
  end)

  for name, make_mask in pairs(cases.MASKS) do
    it("keeps the mask: " .. name, function()
      local case = new_case(THREE, 4, 2, 23, make_mask)
      for n, ranks in ipairs { 1, 2, 3, 5 } do check_case(case, partition.LAYOUTS[5 - n], ranks) end
      check_case(case, "contiguous", 3)
      check_case(case, "zigzag", 3, { parallel = "heads" })
    end)
  end

  it("drops the same probabilities on any number of ranks", function()
    local q, k, v = fill { 4, 23, 3 }, fill({ 2, 23, 3 }, { seed = 2 }), fill({ 2, 23, 3 }, { seed = 3 })
    local dropout = { p = 0.4, seed = 3 }
    local options = { mask = { bias = dilated.bias(THREE, 4, 23, 23) }, dropout = dropout }
    local expected = mosaic.tensor(dense.attention(q, k, v, options).out, { dtype = "f64" }):view(q.shape)
    for _, more in ipairs { {}, { parallel = "heads" } } do
      mosaic.virtual(3, function(comm)
        local function cut(x) return mosaic.shard(x, { axis = 2, comm = comm, layout = "striped" }) end
        close(mosaic.attend(cut(q), cut(k), cut(v), {
          strategy = dilated.strategy(THREE, more), comm = comm, layout = "striped", dropout = dropout,
        }), cut(expected))
      end)
    end
  end)

  it("takes two batch axes, and no axis of heads", function()
    local x = fill { 2, 3, 4, 20, 3 }
    local pattern = dilated.strategy { segments = { 5, 20 }, rates = { 1, 2 } }
    local whole = mosaic.attend(x, x, x, { strategy = pattern, comm = mosaic.comm.alone() })
    local function one(t)
      return mosaic.attend(t, t, t, { strategy = pattern, comm = mosaic.comm.alone() })
    end
    for a = 1, 2 do
      for b = 1, 3 do close(whole[a][b], one(x[a][b])) end
    end
    close(one(x[1][1][1]), one(x[1][1]:narrow(1, 1, 1))[1])
  end)

  it("gives a row that no rate selects 0, and no gradient", function()
    local x = fill({ 1, 6, 2 }, { requires_grad = true })
    local out, lse = mosaic.attend(x, x, x, {
      strategy = { "dilated", segments = { 6 }, rates = { 2 } }, comm = mosaic.comm.alone(),
    })
    out:sum():backward()
    for i = 2, 6, 2 do
      assert.same({ 0, 0 }, out[1][i]:tolist())
      assert.equal(-math.huge, lse[1][i]:item())
      assert.same({ 0, 0 }, x.grad[1][i]:tolist())
    end
    assert.is_true(lse[1][1]:item() > -math.huge)
  end)

  it("refuses on every rank, before anything is sent, what makes no sense", function()
    mosaic.virtual(3, function(comm)
      local x = fill { 2, 4, 3 }
      local function refuses(text, options, attend)
        attend = attend or {}
        attend.comm, attend.strategy = comm, dilated.strategy(options)
        comm:reset_counters()
        fails(text, function() mosaic.attend(x, x, x, attend) end)
        assert.equal(0, comm:counters("all_to_all").calls)
      end
      refuses("dilated: segments and rates belong together, got only rates", { rates = { 2 } })
      refuses("dilated: segments {4, 8} and rates {1} must be equally many",
        { segments = { 4, 8 }, rates = { 1 } })
      refuses("dilated: segments[2] must be an integer of at least 1, got 0",
        { segments = { 4, 0 }, rates = { 1, 2 } })
      refuses("dilated: rates must have a number for each rate, got none", { segments = { 4 }, rates = {} })
      refuses("dilated: offsets", { offsets = "modulus" })
      refuses("dilated: parallel", { parallel = "rows" })
      refuses('dilated: heads = "partition" has no head for each of 3 rates, only 2',
        dilated.strategy(THREE, { heads = "partition" }))
      refuses('"groups" needs all heads, but the first one here is number 3: use offsets = "modulo"',
        { offsets = "groups" }, { head_from = 3 })
    end)
  end)

  it("tells patterns apart by the order of their rates", function()
    mosaic.virtual(2, function(comm)
      local x, rates = fill { 2, 4, 3 }, { { 1, 2 }, { 2, 1 } }
      fails("ranks disagree on strategy", function()
        mosaic.attend(x, x, x, {
          comm = comm, strategy = { "dilated", segments = { 4, 4 }, rates = rates[comm.rank + 1] },
        })
      end)
    end)
  end)
end)
