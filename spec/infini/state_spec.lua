local cases = require "spec.support.infini_cases"
local close = require "spec.support.close"
local files = require "spec.support.files"
local mosaic = require "mosaic"

describe("the state of infini_attention", function()
  for _, update in ipairs { "linear", "delta" } do
    it("goes from piece to piece, of any lengths, on 1, 2 and 3 ranks: " .. update, function()
      local case = cases.new(24, 5, update)
      local expected = cases.truth(case).out
      for _, pieces in ipairs { { 10, 10, 4 }, { 1, 1, 1, 1, 1, 1, 18 }, { 3, 0, 9, 12 }, { 0, 22, 2 } } do
        for ranks = 1, 3 do
          mosaic.virtual(ranks, function(comm)
            local out, state = cases.stream(case, pieces, comm)
            close(out, expected)
            assert.same({ 24, 4, 4 }, { state.rows, state.keys:size(3), state.values:size(3) })
          end)
        end
      end
    end)

    it("carries gradients back to earlier pieces: " .. update, function()
      local case = cases.new(13, 4, update)
      local truth = cases.truth(case)
      for ranks = 1, 3 do
        local grads = mosaic.virtual(ranks, function(comm)
          local own = { segment = 4, update = update }
          for _, name in ipairs { "q", "k", "v", "beta" } do
            own[name] = case[name]:clone():requires_grad_()
          end
          cases.stream(own, { 3, 8, 2 }, comm):backward(case.dout)
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
  end

  it("can be cut off the tape, and come from a file", function()
    local case = cases.new(9, 4, "delta")
    local function piece(x, first, rows) return x:narrow(2, first, rows) end
    local k = case.k:clone():requires_grad_()
    local function go_on(state)
      return mosaic.infini_attention(piece(case.q, 6, 4), piece(case.k, 6, 4), piece(case.v, 6, 4),
        cases.options(case, { state = state }))
    end
    local _, state = mosaic.infini_attention(piece(case.q, 1, 5), piece(k, 1, 5), piece(case.v, 1, 5),
      cases.options(case, { state = {} }))
    assert.is_true(state.memory.requires_grad and state.keys.requires_grad)
    local cut_off = go_on(state:detach())
    assert.is_false(cut_off.requires_grad)
    local path = files.path "state.safetensors"
    mosaic.save(path, { memory = state.memory:detach(), keys = state.keys:detach(),
      values = state.values:detach() })
    local loaded = mosaic.load(path)
    loaded.rows = 5
    close(go_on(loaded), cut_off)
    close(cut_off, cases.truth(case).out:narrow(2, 6, 4))
  end)

  it("is all that stays of a piece that is over", function()
    local case, state = cases.new(64, 4, "delta"), {}
    mosaic.collect()
    local before = mosaic.memory().live_bytes
    for first = 1, 32, 31 do
      local function piece(x) return x:narrow(2, first, 31):clone() end
      state = select(2, mosaic.infini_attention(piece(case.q), piece(case.k), piece(case.v),
        cases.options(case, { state = state })))
    end
    mosaic.collect()
    local kept = mosaic.memory().live_bytes - before
    local numbers = state.memory:numel() + state.keys:numel() + state.values:numel()
    assert(kept <= 8 * numbers + 3 * 64, kept) -- each rounded up
  end)
end)
