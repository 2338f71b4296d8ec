local attention = require "spec.support.attention"
local cases = require "spec.support.infini_cases"
local close = require "spec.support.close"
local fill = require "spec.support.fill"
local infini = require "spec.support.infini"
local mosaic = require "mosaic"

local NAMES = { "out", "dq", "dk", "dv", "dbeta" }

describe("infini_attention", function()
  for _, update in ipairs { "linear", "delta" } do
    it("equals the sequential definition, forward and gradients: " .. update, function()
      for _, rows in ipairs { 0, 1, 7, 13, 24 } do
        for _, segment in ipairs { 1, 4, 5 } do
          local case = cases.new(rows, segment, update)
          local truth = cases.truth(case)
          for ranks = 1, 5 do cases.expect_exact(case, cases.even(rows, ranks), truth) end
        end
      end
    end)

    it("takes rows cut anywhere, and ranks without rows: " .. update, function()
      local case = cases.new(13, 4, update, { heads = 4, kv_heads = 2 })
      local truth = cases.truth(case)
      for _, counts in ipairs { { 0, 13, 0 }, { 1, 0, 0, 12 }, { 0, 0, 6, 7 }, { 3, 2, 1, 6, 1 } } do
        cases.expect_exact(case, counts, truth)
      end
    end)

    it("loses in f32 at most twice what a plain implementation does, on any number of ranks: " .. update,
      function()
        local case = cases.new(96, 8, update, { heads = 2, kv_heads = 2, d = 8, dtype = "f32" })
        local truth = cases.truth(case)
        case.dtype = "f32"
        local plain = infini(case)
        for _, ranks in ipairs { 1, 2, 5, 8 } do
          local got = cases.run(case, cases.even(96, ranks))
          for _, name in ipairs(NAMES) do
            local expected = truth[name]:flat()
            local _, exponent = math.frexp(truth[name]:abs():amax():item())
            local bound = 2 * attention.distance(plain[name], expected) + 4 * 2 ^ (exponent - 24)
            local error = attention.distance(got[name]:flat(), expected)
            assert(error <= bound, ("%s, %d ranks: %g, more than %g"):format(name, ranks, error, bound))
          end
        end
      end)
  end

  it("sends the memory in ceil(log2 p) messages, and no row that is where it must be", function()
    local case, d = cases.new(64, 4, "delta"), 3
    for ranks, rounds in pairs { [2] = 1, [4] = 2, [5] = 3, [8] = 3 } do
      local most, moved = 0, 0
      for _, sent in ipairs(mosaic.virtual(ranks, function(comm)
        local counts = cases.even(16, ranks)
        for r in ipairs(counts) do counts[r] = counts[r] * 4 end
        local function own(x) return cases.cut(x, counts, comm.rank) end
        comm:reset_counters()
        mosaic.infini_attention(own(case.q), own(case.k), own(case.v), cases.options(case, { comm = comm }))
        return { comm:counters("sendrecv").bytes_sent, comm:counters("all_to_all").calls }
      end)) do
        most, moved = math.max(most, sent[1]), moved + sent[2]
      end
      assert.equal(rounds * (d + 2 * d * d) * 8, most)
      assert.equal(0, moved)
    end
  end)

  it("puts positions into A_dot only, as slopes or by a function, also across pieces", function()
    local case = cases.new(14, 4, "delta", { slopes = { 0.5, 0.25 } })
    local truth = cases.truth(case)
    cases.expect_exact(case, { 6, 5, 3 }, truth)
    -- Slopes written as two more channels: q.k - slope (i - j) is (q, -slope i, slope).(k, 1, j). Before
    -- they are encoded, these hold -1000, of which the memory keeps exp(-1000) = 0.
    local slope, scale = 0.5, 1 / math.sqrt(3)
    case.slopes = { slope, slope }
    truth = cases.truth(case)
    local function encode(x, positions)
      local at = positions:to("f64"):view(-1, 1)
      local channels = x:size(2) == 2 and { at * (-slope / scale), at:ones_like() * (slope / scale) }
        or { at:ones_like(), at }
      local places = mosaic.cat(channels, 2):expand(1, x:size(2), -1, 2)
      return mosaic.cat({ x:narrow(-1, 1, 3), places }, -1)
    end
    local wide = { segment = 4, update = "delta", beta = case.beta }
    for _, name in ipairs { "q", "k", "v" } do
      local x = case[name]
      wide[name] = mosaic.cat({ x, mosaic.full({ x:size(1), 14, 2, dtype = "f64" }, -1000) }, -1)
    end
    for ranks = 1, 3 do
      mosaic.virtual(ranks, function(comm)
        local out = cases.stream(wide, { 3, 11 }, comm, { encode = encode, scale = scale })
        close(out:narrow(-1, 1, 3), truth.out)
      end)
    end
  end)

  it("takes any batch axes and strides, without changing them", function()
    local case = cases.new(11, 4, "delta", { heads = 4, kv_heads = 2 })
    local expected = cases.truth(case)
    local packed = fill({ 2, 11, 3, 8, 3 }, { seed = 9 }) -- (before, n, after, heads, d), as a layer has it
    local x = packed:permute(1, 3, 4, 2, 5)
    for name, range in pairs { q = { 1, 4 }, k = { 5, 2 }, v = { 7, 2 } } do
      x:narrow(3, range[1], range[2]):select(1, 2):select(1, 3):copy_(case[name])
    end
    local q, k, v = unpack(x:split({ 4, 2, 2 }, 3))
    local out, state = mosaic.infini_attention(q, k, v, cases.options(case, { state = {} }))
    assert.same({ 2, 3, 4, 11, 3 }, out.shape)
    close(out[2][3], expected.out)
    assert.same({ 6, 2, 3, 4 }, state.memory.shape)
  end)

  it("computes with halves, the memory in f32", function()
    local case = cases.new(24, 4, "delta", { dtype = "bf16" })
    local out, state = mosaic.infini_attention(case.q, case.k, case.v, cases.options(case, { state = {} }))
    assert.same({ "f32", "f32", "bf16" }, { out.dtype, state.memory.dtype, state.keys.dtype })
    close(out:to "f64", cases.truth(case).out, 1e-5) -- of what the halves hold
  end)

  it("keeps elu(x) + 1 accurate far below 0, differentiable at 0, and never divides by 0", function()
    --- What the second row reads, and the gradient of the first key.
    local function read(first_key, query)
      local function rows(list) return mosaic.tensor(list):view(1, 2, 1) end
      local k = rows({ first_key, 0 }):requires_grad_()
      local out = mosaic.infini_attention(rows { 0, query }, k, rows { 3, 5 },
        { segment = 1, beta = mosaic.tensor { 100 } })
      out:sum():backward()
      return { out:flat()[2], k.grad:flat()[1] }
    end
    close(read(-30, -30), { 3, 0 }, 1e-6)
    assert.same({ 0, 0 }, read(-200, 0)) -- exp(-200) is 0 in f32: nothing to read
    local function rows(list) return mosaic.tensor(list, { dtype = "f64" }):view(1, 3, 2) end
    local q, k = rows({ 0, 0, 0, 0, 0, 1 }):requires_grad_(), rows({ 0, -1, -1, 0, 0, 0 }):requires_grad_()
    assert.is_true(mosaic.gradcheck(function()
      return mosaic.infini_attention(q, k, rows { 1, 2, 3, 5, 8, 13 },
        { segment = 1, update = "delta", beta = mosaic.ones { 1 } })
    end, { q, k }))
  end)
end)
