local cases = require "spec.support.infini_cases"
local fails = require "spec.support.fails"
local mosaic = require "mosaic"

describe("infini_attention refuses", function()
  it("wrong arguments, by name", function()
    local case = cases.new(6, 4, "linear")
    local function refuses(text, changes)
      local q, k, v = changes.q or case.q, changes.k or case.k, changes.v or case.v
      local options = cases.options(case, changes)
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
    local _, state = mosaic.infini_attention(case.q, case.k, case.v, cases.options(case, { state = {} }))
    refuses("state.keys must be f64 [1,1,1,3], got f64 [1,1,2,3]", { state = state, segment = 5 })
    refuses("state.memory must be f64 [1,2,3,4], got f64 [1,1,3,4]",
      { state = state, k = case.q, v = case.q })
  end)

  it("on every rank, before anything is sent, what the ranks do not agree on", function()
    local case = cases.new(8, 4, "linear")
    mosaic.virtual(2, function(comm)
      local first = comm.rank == 0
      local function refuses(text, changes)
        changes.comm = comm
        comm:reset_counters()
        fails(text, function()
          mosaic.infini_attention(case.q, case.k, case.v, cases.options(case, changes))
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
      refuses("rank 1: infini_attention: segment must be an integer of at least 1, got 0",
        { segment = first and 4 or 0 })
    end)
  end)
end)
