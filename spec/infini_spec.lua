local attention = require "spec.support.attention"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local infini = require "spec.support.infini"
local mosaic = require "mosaic"

local NAMES = { "out", "dq", "dk", "dv", "dbeta" }

--- q, k, v, beta, dout of one sequence.
local function new_case(rows, segment, update, options)
  options = options or {}
  local heads, kv_heads, d, dtype = options.heads or 2, options.kv_heads or 1, options.d or 3, options.dtype
  local function part(count, seed) return fill({ count, rows, d }, { seed = seed, dtype = dtype }) end
  return {
    q = part(heads, 1), k = part(kv_heads, 2), v = part(kv_heads, 3), dout = part(heads, 4),
    beta = fill({ heads }, { seed = 5, dtype = dtype }), segment = segment, update = update,
    slopes = options.slopes,
  }
end

local function truth_of(case)
  local truth = infini(case)
  local shapes = { out = case.q, dq = case.q, dk = case.k, dv = case.v, dbeta = case.beta }
  for name, like in pairs(shapes) do
    truth[name] = mosaic.tensor(truth[name], { dtype = "f64" }):reshape(like.shape)
  end
  return truth
end

--- The rank's rows when the ranks hold counts[1], counts[2] ... of them.
local function cut(x, counts, rank)
  local first = 1
  for i = 1, rank do first = first + counts[i] end
  return x:narrow(-2, first, counts[rank + 1])
end

local function even(rows, ranks)
  local counts = {}
  for r = 1, ranks do counts[r] = math.floor(r * rows / ranks) - math.floor((r - 1) * rows / ranks) end
  return counts
end

local function options_of(case, more)
  local options = { segment = case.segment, update = case.update, beta = case.beta, alibi = case.slopes }
  for name, value in pairs(more) do options[name] = value end
  return options
end

--- Everything that must be right, whole, as rank 0 sees it.
local function run(case, counts)
  local results = mosaic.virtual(#counts, function(comm)
    local function own(x) return cut(x, counts, comm.rank):clone():requires_grad_() end
    local q, k, v, beta = own(case.q), own(case.k), own(case.v), case.beta:clone():requires_grad_()
    local out = mosaic.infini_attention(q, k, v, options_of(case, { comm = comm, beta = beta }))
    out:backward(cut(case.dout, counts, comm.rank))
    local whole = { dbeta = comm:all_reduce(beta.grad) }
    for name, part in pairs { out = out:detach(), dq = q.grad, dk = k.grad, dv = v.grad } do
      whole[name] = comm:all_gather(part, -2, counts)
    end
    return whole
  end)
  return results[1]
end

local function expect_exact(case, counts, truth)
  local got = run(case, counts)
  for _, name in ipairs(NAMES) do close(got[name], truth[name]) end
end

--- The whole sequence in pieces, one after the other, each sharded over the ranks of comm: the result.
local function stream(case, pieces, comm, options)
  local parts, state, first = {}, {}, 1
  for i, rows in ipairs(pieces) do
    local counts = even(rows, comm.size)
    local function own(x) return cut(x:narrow(-2, first, rows), counts, comm.rank) end
    local more = { comm = comm, state = state }
    for name, value in pairs(options or {}) do more[name] = value end
    parts[i], state = mosaic.infini_attention(own(case.q), own(case.k), own(case.v), options_of(case, more))
    parts[i] = comm:all_gather(parts[i], -2, counts)
    first = first + rows
  end
  return mosaic.cat(parts, -2), state
end

describe("infini_attention", function()
  for _, update in ipairs { "linear", "delta" } do
    it("equals the sequential definition, forward and gradients: " .. update, function()
      for _, rows in ipairs { 0, 1, 7, 13, 24 } do
        for _, segment in ipairs { 1, 4, 5 } do
          local case = new_case(rows, segment, update)
          local truth = truth_of(case)
          for ranks = 1, 5 do expect_exact(case, even(rows, ranks), truth) end
        end
      end
    end)

    it("takes rows cut anywhere, and ranks without rows: " .. update, function()
      local case = new_case(13, 4, update, { heads = 4, kv_heads = 2 })
      local truth = truth_of(case)
      for _, counts in ipairs { { 0, 13, 0 }, { 1, 0, 0, 12 }, { 0, 0, 6, 7 }, { 3, 2, 1, 6, 1 } } do
        expect_exact(case, counts, truth)
      end
    end)

    it("carries its state from piece to piece, of any lengths, on 1, 2 and 3 ranks: " .. update, function()
      local case = new_case(24, 5, update)
      local expected = truth_of(case).out
      for _, pieces in ipairs { { 10, 10, 4 }, { 1, 1, 1, 1, 1, 1, 18 }, { 3, 0, 9, 12 }, { 0, 22, 2 } } do
        for ranks = 1, 3 do
          mosaic.virtual(ranks, function(comm)
            local out, state = stream(case, pieces, comm)
            close(out, expected)
            assert.same({ 24, 4, 4 }, { state.rows, state.keys:size(3), state.values:size(3) })
          end)
        end
      end
    end)

    it("differentiates through the state: " .. update, function()
      local case = new_case(13, 4, update)
      local truth = truth_of(case)
      for ranks = 1, 3 do
        local grads = mosaic.virtual(ranks, function(comm)
          local own = { segment = 4, update = update }
          for _, name in ipairs { "q", "k", "v", "beta" } do
            own[name] = case[name]:clone():requires_grad_()
          end
          stream(own, { 3, 8, 2 }, comm):backward(case.dout)
          local sums = {}
          for _, name in ipairs { "q", "k", "v", "beta" } do sums["d" .. name] = own[name].grad end
          return sums
        end)
        -- every rank holds the whole inputs and gathers the whole result: each gradient came `ranks` times
        for _, name in ipairs { "dq", "dk", "dv", "dbeta" } do
          local sum = grads[1][name]
          for r = 2, ranks do sum = sum + grads[r][name] end
          close(sum / ranks, truth[name])
        end
      end
    end)

    it("loses in f32 at most twice what a plain implementation does, on any number of ranks: " .. update,
      function()
        local case = new_case(96, 8, update, { heads = 2, kv_heads = 2, d = 8, dtype = "f32" })
        local truth = truth_of(case)
        case.dtype = "f32"
        local plain = infini(case)
        for _, ranks in ipairs { 1, 2, 5, 8 } do
          local got = run(case, even(96, ranks))
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
    local case, d = new_case(64, 4, "delta"), 3
    for ranks, rounds in pairs { [2] = 1, [4] = 2, [5] = 3, [8] = 3 } do
      local most, moved = 0, 0
      for _, sent in ipairs(mosaic.virtual(ranks, function(comm)
        local counts = even(16, ranks)
        for r in ipairs(counts) do counts[r] = counts[r] * 4 end
        local function own(x) return cut(x, counts, comm.rank) end
        comm:reset_counters()
        mosaic.infini_attention(own(case.q), own(case.k), own(case.v), options_of(case, { comm = comm }))
        return { comm:counters("sendrecv").bytes_sent, comm:counters("all_to_all").calls }
      end)) do
        most, moved = math.max(most, sent[1]), moved + sent[2]
      end
      assert.equal(rounds * (d + 2 * d * d) * 8, most)
      assert.equal(0, moved)
    end
  end)

  it("puts positions into A_dot only, as slopes or by a function, also across pieces", function()
    local case = new_case(14, 4, "delta", { slopes = { 0.5, 0.25 } })
    local truth = truth_of(case)
    expect_exact(case, { 6, 5, 3 }, truth)
    -- Slopes written as two more channels: q.k - slope (i - j) is (q, -slope i, slope).(k, 1, j). Before
    -- they are encoded, these hold -1000, of which the memory keeps exp(-1000) = 0.
    local slope, scale = 0.5, 1 / math.sqrt(3)
    case.slopes = { slope, slope }
    truth = truth_of(case)
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
        local out = stream(wide, { 3, 11 }, comm, { encode = encode, scale = scale })
        close(out:narrow(-1, 1, 3), truth.out)
      end)
    end
  end)

  it("takes any batch axes and strides, without changing them", function()
    local case = new_case(11, 4, "delta", { heads = 4, kv_heads = 2 })
    local expected = truth_of(case)
    local packed = fill({ 2, 11, 3, 8, 3 }, { seed = 9 }) -- (before, n, after, heads, d), as a layer has it
    local x = packed:permute(1, 3, 4, 2, 5)
    for name, range in pairs { q = { 1, 4 }, k = { 5, 2 }, v = { 7, 2 } } do
      x:narrow(3, range[1], range[2]):select(1, 2):select(1, 3):copy_(case[name])
    end
    local q, k, v = unpack(x:split({ 4, 2, 2 }, 3))
    local out, state = mosaic.infini_attention(q, k, v, options_of(case, { state = {} }))
    assert.same({ 2, 3, 4, 11, 3 }, out.shape)
    close(out[2][3], expected.out)
    assert.same({ 6, 2, 3, 4 }, state.memory.shape)
  end)

  it("computes with halves, the memory in f32", function()
    local case = new_case(24, 4, "delta", { dtype = "bf16" })
    local out, state = mosaic.infini_attention(case.q, case.k, case.v, options_of(case, { state = {} }))
    assert.same({ "f32", "f32", "bf16" }, { out.dtype, state.memory.dtype, state.keys.dtype })
    close(out:to "f64", truth_of(case).out, 1e-5) -- of what the halves hold
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

  it("keeps no more than the state of a piece that is over", function()
    local case, state = new_case(64, 4, "delta"), {}
    mosaic.collect()
    local before = mosaic.memory().live_bytes
    for first = 1, 32, 31 do
      local function piece(x) return x:narrow(2, first, 31):clone() end
      state = select(2, mosaic.infini_attention(piece(case.q), piece(case.k), piece(case.v),
        options_of(case, { state = state })))
    end
    mosaic.collect()
    local kept = mosaic.memory().live_bytes - before
    local numbers = state.memory:numel() + state.keys:numel() + state.values:numel()
    assert(kept <= 8 * numbers + 3 * 64, kept) -- each rounded up
  end)

  it("names what is wrong with its arguments", function()
    local case = new_case(6, 4, "linear")
    local function refuses(text, changes)
      local q, k, v = changes.q or case.q, changes.k or case.k, changes.v or case.v
      local options = options_of(case, changes)
      options.q, options.k, options.v = nil, nil, nil
      for name, value in pairs(options) do
        if value == "none" then options[name] = nil end
      end
      fails("infini_attention: " .. text, function() mosaic.infini_attention(q, k, v, options) end)
    end
    refuses("unknown option 'segments', did you mean 'segment'?", { segments = 4 })
    refuses("segment must be an integer of at least 1, got nil", { segment = "none" })
    refuses("update \"dleta\" is not one of linear, delta (did you mean 'delta'?)", { update = "dleta" })
    refuses("beta must be a tensor of 2 numbers, one a head, got nil", { beta = "none" })
    refuses("beta must be a tensor of 2 numbers, one a head, got f32 [3]", { beta = mosaic.zeros { 3 } })
    refuses("alibi must be 2 slopes, one a head, got f64 [1]", { alibi = { 1 } })
    refuses("scale must be a finite number, got inf", { scale = math.huge })
    refuses("encode must be a function, got true", { encode = true })
    refuses("encode must return a tensor like its argument, f64 [1,2,6,3], got f64 [1,2,6]",
      { encode = function(x) return x:select(4, 1) end })
    refuses("q must be a float tensor (..., heads, rows, d), got f64 [6,3]", { q = case.q[1] })
    refuses("k must have q's sizes (f64 [2,6,3]) and heads that divide its 2, got f64 [1,5,3]",
      { k = case.k:narrow(2, 1, 5) })
    refuses("v must have k's sizes (f64 [1,6,3]), got f64 [2,6,3]", { v = case.q })
    refuses("q, k and v must have one dtype, got f64, f64 and f32", { v = case.v:to "f32" })
    refuses("the head size must be 1..256, got 300 (f32 [1,1,300])",
      { q = mosaic.ones { 1, 1, 300 }, k = mosaic.ones { 1, 1, 300 }, v = mosaic.ones { 1, 1, 300 } })
    refuses("state must be {} or what an earlier call returned, got 7", { state = 7 })
    refuses("state.rows must be an integer of at least 0, got nil", { state = { memory = case.q } })
    local _, state = mosaic.infini_attention(case.q, case.k, case.v, options_of(case, { state = {} }))
    refuses("state.keys must be f64 [1,1,1,3], got f64 [1,1,2,3]", { state = state, segment = 5 })
    refuses("state.memory must be f64 [1,2,3,4], got f64 [1,1,3,4]",
      { state = state, k = case.q, v = case.q })
  end)

  it("refuses on every rank, before anything is sent, what the ranks do not agree on", function()
    local case = new_case(8, 4, "linear")
    mosaic.virtual(2, function(comm)
      local first = comm.rank == 0
      local function refuses(text, changes)
        changes.comm = comm
        comm:reset_counters()
        fails(text, function()
          mosaic.infini_attention(case.q, case.k, case.v, options_of(case, changes))
        end)
        assert.same({ 0, 0 }, { comm:counters("sendrecv").calls, comm:counters("all_to_all").calls })
      end
      refuses("infini_attention: ranks disagree on segment: rank 0 4, rank 1 5",
        { segment = first and 4 or 5 })
      refuses("ranks disagree on update: rank 0 linear, rank 1 delta",
        { update = first and "linear" or "delta" })
      refuses("ranks disagree on state: rank 0 0, rank 1 none", { state = first and {} or nil })
      refuses("ranks disagree on alibi: rank 0 alibi={1, 2}, rank 1 none",
        { alibi = first and { 1, 2 } or nil })
      refuses("error: rank 0 none, rank 1 infini_attention: segment must be an integer of at least 1, got 0",
        { segment = first and 4 or 0 })
    end)
  end)
end)
