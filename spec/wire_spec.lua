local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local refuser = require "spec.support.refuser"
local worlds = require "spec.support.worlds"

local wire = mosaic.wire

local BOUND = { bf16 = 2 ^ -9, fp8 = 2 ^ -4, int8 = 1 / 127 } -- of halves; int8 of floats half of that

describe("wire", function()
  it("decodes what it encoded, in the dtype of x, and says how many bytes it was", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
      local x = fill({ 2, 5, 12 }, { dtype = dtype })
      for format, bytes in pairs { bf16 = 24, fp8 = 16, int8 = 16 } do
        local payload = wire.encode(x, format)
        assert.same({ 2, 5 }, { payload:size(1), payload:size(2) })
        assert.equal(bytes, wire.bytes(format, 12))
        assert.equal(bytes, payload:size(-1) * (format == "bf16" and 2 or 1))
        local decoded = wire.decode(payload, format, dtype)
        assert.equal(dtype, decoded.dtype)
        close(decoded, x:to "f64", BOUND[format])
        assert.same(decoded:flat(), wire.round(x, format):flat())
      end
    end
  end)

  it("encodes its own results to the same bytes", function()
    for _, format in ipairs(wire.FORMATS) do
      for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
        local rounded = wire.round(fill({ 9, 7 }, { dtype = dtype }), format)
        assert.same(rounded:flat(), wire.round(rounded, format):flat())
        assert.same(wire.encode(rounded, format):flat(),
          wire.encode(wire.round(rounded, format), format):flat())
      end
    end
  end)

  it("lets the gradient pass unchanged", function()
    for _, format in ipairs(wire.FORMATS) do
      local x, g = fill({ 3, 4 }, { requires_grad = true }), fill({ 3, 4 }, { seed = 1 })
      wire.round(x, format):backward(g)
      assert.same(g:flat(), x.grad:flat())
      assert.equal("f64", x.grad.dtype)
    end
    local half = fill({ 3, 4 }, { dtype = "bf16", requires_grad = true })
    wire.round(half, "bf16"):sum():backward()
    close(half.grad, mosaic.ones { 3, 4 })
  end)

  it("measures its error", function()
    local x = mosaic.tensor({ { 127, 0.5, 100.25 }, { -254, 3, 0 } }, { dtype = "f64" })
    local error = wire.error(x, "int8") -- off by 0.5, 0.25 and (3 lies between 2 and 4) 1
    close(error.max, 1 / 254)
    close(error.rms, math.sqrt((0.25 + 0.0625 + 1) / (127 ^ 2 + 0.25 + 100.25 ^ 2 + 254 ^ 2 + 9)))
    assert.same({ max = 0, rms = 0 }, wire.error(mosaic.zeros { 2, 2 }, "fp8"))
    assert.same({ max = 0, rms = 0 }, wire.error(mosaic.zeros { 0, 2 }, "fp8"))
  end)

  it("is about 2^-9 (bf16), 1/100 (int8) and 1/40 (fp8) on normal numbers", function()
    mosaic.manual_seed(3)
    local x = mosaic.randn { 200, 64 }
    for format, bound in pairs { bf16 = { 0.0008, 0.002 }, int8 = { 0.005, 0.01 }, fp8 = { 0.02, 0.03 } } do
      local rms = wire.error(x, format).rms
      assert(rms > bound[1] and rms < bound[2], ("%s: %g"):format(format, rms))
    end
  end)

  it("refuses formats that it does not know", function()
    local x = fill { 2, 2 }
    fails("wire.encode: wire \"int4\" is not one of bf16, fp8, int8 (did you mean 'int8'?)",
      function() wire.encode(x, "int4") end)
    fails("wire.round: wire nil is not one of", function() wire.round(x) end)
    fails("quantize: row 2 of f64 [2,2] holds inf", function()
      x:set(2, 1, math.huge)
      wire.round(x, "int8")
    end)
  end)
end)

describe("messages with a wire format", function()
  --- Values and gradient of a movement must be those of the same movement of rounded rows.
  local function same_as_rounded(comm, format, move)
    local function run(x, wire_format)
      x = x:detach():requires_grad_()
      local y = move(x, wire_format)
      y:backward(fill(y.shape, { seed = comm.rank }))
      return y:flat(), x.grad:flat()
    end
    local x = fill({ 3, 2 + comm.rank, 5 }, { seed = 10 + comm.rank })
    local values, gradient = run(x, format)
    local rounded, expected = run(wire.round(x, format), nil)
    assert.same(rounded, values)
    assert.same(expected, gradient)
  end

  it("carry rounded rows, and gradients as they are", function()
    for _, format in ipairs(wire.FORMATS) do
      worlds(function(comm)
        same_as_rounded(comm, format, function(x, w) return comm:all_gather(x, 2, nil, { wire = w }) end)
        same_as_rounded(comm, format, function(x, w)
          local right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
          return comm:sendrecv(x, right, left, { 3, 2 + left, 5 }, { wire = w })
        end)
        same_as_rounded(comm, format, function(x, w)
          return comm:all_to_all(x, { split_axis = 1, concat_axis = 2, wire = w })
        end)
        same_as_rounded(comm, format, function(x, w)
          local counts = {}
          for r = 1, comm.size do counts[r] = 1 + r end
          local have = mosaic.partition.new {
            rows = comm.size * (comm.size + 3) / 2, ranks = comm.size, counts = counts,
          }
          local want = have:united { { 0, comm.size - 1 }, { 0 }, {} }
          for r = 4, comm.size do want.lists[r] = { { 1, 1, 2 } } end
          want.ranks = comm.size
          return mosaic.move(comm, x, 2, have, want, w)
        end)
      end, { 3, 5 })
    end
  end)

  it("count the bytes of the format", function()
    mosaic.virtual(3, function(comm)
      local x = fill({ 4, 6, 10 }, { dtype = "f32" })
      for format, row in pairs { bf16 = 20, fp8 = 14, int8 = 14 } do
        comm:reset_counters()
        comm:all_gather(x, 2, { 6, 6, 6 }, { wire = format })
        assert.equal(2 * 24 * row, comm:counters("all_gather").bytes_sent)
        assert.equal(row, wire.bytes(format, 10, 4))
      end
      assert.equal(40, wire.bytes(nil, 10, 4))
    end)
  end)

  it("keep rows whole", function()
    local comm, x = mosaic.comm.world(), fill { 2, 3 }
    fails("all_gather: with wire = 'fp8' rows travel whole, but axis 2 of f64 [2,3] is the rows' own",
      function() comm:all_gather(x, 2, nil, { wire = "fp8" }) end)
    fails("all_to_all: with wire = 'int8' rows travel whole, but axis 2",
      function() comm:all_to_all(x, { split_axis = 1, concat_axis = -1, wire = "int8" }) end)
    fails("sendrecv: wire \"int9\" is not one of bf16, fp8, int8",
      function() comm:sendrecv(x, 0, 0, nil, { wire = "int9" }) end)
    fails("wire.encode: expected rows of floats, got i64 [3]",
      function() comm:sendrecv(mosaic.arange(1, 3), 0, 0, nil, { wire = "bf16" }) end)
  end)
end)

describe("attend with a wire format", function()
  local ROWS, D = 13, 6

  --- Everyone's out and gradients, of attention over k and v as they are or rounded beforehand.
  local function run(size, options, rounded)
    return mosaic.virtual(size, function(comm)
      local shard = { axis = 2, comm = comm, layout = options.layout }
      local function leaf(seed) return mosaic.shard(fill({ 2, ROWS, D }, { seed = seed }), shard) end
      local q, k, v = leaf(1), leaf(2), leaf(3)
      if rounded then k, v = wire.round(k, options.wire), wire.round(v, options.wire) end
      for _, t in ipairs { q, k, v } do t:requires_grad_() end
      local out, lse = mosaic.attend(q, k, v, {
        comm = comm, strategy = options.strategy, layout = options.layout, mask = options.mask,
        wire = not rounded and options.wire or nil,
      })
      out:backward(mosaic.shard(fill({ 2, ROWS, D }, { seed = 4 }), shard))
      local results = { out = out, lse = lse:unsqueeze(-1), dq = q.grad, dk = k.grad, dv = v.grad }
      for name, t in pairs(results) do results[name] = mosaic.unshard(t, shard) end
      return results
    end)[1]
  end

  it("gives what exact attention gives for rounded keys and values, on any number of ranks", function()
    for _, format in ipairs(wire.FORMATS) do
      for _, mask in ipairs { {}, { causal = true }, { prefix = 7 } } do
        local truth = run(1, { strategy = "local", wire = format, mask = mask }, true)
        for _, strategy in ipairs { "ring", { "ring", directions = 2 } } do
          for size, layout in pairs { "contiguous", "striped", "zigzag", "contiguous" } do
            local options = { strategy = strategy, layout = layout, wire = format, mask = mask }
            local results = run(size, options)
            for name, t in pairs(truth) do close(results[name], t) end
            assert.same(run(size, options, true).out:flat(), results.out:flat()) -- nothing is rounded twice
          end
        end
      end
    end
  end)

  it("is exact for rounded keys and values under every strategy, and sends less", function()
    local sizes = { rows = 61, heads = 4, kv_heads = 2, head_size = 16 }
    for _, name in ipairs(mosaic.strategy.names()) do
      local function sent(format)
        local found = mosaic.verify(name, sizes, { ranks = 4, mask = "causal", layout = "contiguous",
          dtypes = { "f64" }, wire = format, quiet = true })
        assert.is_true(found.ok, name)
        local bytes = 0
        for _, rank in ipairs(found.ranks) do bytes = bytes + rank.bytes end
        return bytes
      end
      if name ~= "local" then
        local exact, rounded = sent(), sent "fp8"
        assert(rounded < exact, ("%s: %d bytes, %d with fp8"):format(name, exact, rounded))
      end
    end
  end)

  it("differs from exact attention by about as much as its rows do", function()
    local exact = run(3, { strategy = "ring" }).out
    for format, bound in pairs { bf16 = 0.004, int8 = 0.01, fp8 = 0.06 } do
      local difference = (run(3, { strategy = "ring", wire = format }).out - exact):abs():max():item()
      assert(difference > bound / 50 and difference < bound, ("%s: %g"):format(format, difference))
    end
  end)

  it("sends the format's bytes round the ring, forward and backward", function()
    local function bytes(format)
      return mosaic.virtual(4, function(comm)
        local x = fill({ 2, 5, 16 }, { dtype = "f32", requires_grad = true })
        comm:reset_counters()
        local out = mosaic.attend(x, x, x, { comm = comm, strategy = "ring", wire = format })
        local forward = comm:counters("sendrecv").bytes_sent
        out:sum():backward()
        return { forward, comm:counters("sendrecv").bytes_sent - forward }
      end)[1]
    end
    local blocks, gradients = 3 * 2 * 2 * 5, 3 * 2 * 2 * 5 * 16 * 4 -- 3 steps, k and v, 2 heads, 5 rows
    for format, row in pairs { bf16 = 32, int8 = 20, fp8 = 20 } do
      assert.same({ blocks * row, blocks * row + gradients }, bytes(format))
      local rows = mosaic.partition.new { rows = 20, ranks = 4 }
      local plan = require "mosaic.plan" {
        comm = { size = 4, rank = 0 }, wire = format, options = {}, mask = {}, queries = rows, keys = rows,
      }
      assert.equal(blocks * row, mosaic.strategy.get("ring").body.volume(plan,
        { batch = 1, heads = 2, kv_heads = 2, d = 16, bytes = 4 }))
    end
    assert.same({ blocks * 64, blocks * 64 + gradients }, bytes())
  end)

  it("works inside a layer", function()
    local function output(format)
      mosaic.manual_seed(5)
      local layer = mosaic.MultiAxisAttention {
        embed_dim = 8, num_heads = 2, attention_axis = 1, backend = "ring", wire = format, dtype = "f64",
      }
      return layer:forward(fill { 7, 8 })
    end
    local difference = (output "int8" - output()):abs():max():item()
    assert(difference > 1e-5 and difference < 0.02, difference)
  end)

  it("refuses on every rank what one rank cannot send", function()
    mosaic.virtual(3, function(comm)
      local x = fill({ 2, 3, 4 }, { dtype = "f32" })
      local refuses = refuser(comm, x)
      refuses("ranks disagree on wire: rank 0 int8, rank 1 fp8",
        { wire = comm.rank == 1 and "fp8" or "int8" })
      refuses("attend: wire \"int4\" is not one of bf16, fp8, int8", { wire = "int4" })
      if comm.rank == 1 then x:set(2, 3, 1, math.huge) end
      refuses("quantize: row [2,3] of f32 [2,3,4] holds inf, int8 carries numbers up to", { wire = "int8" })
    end)
  end)
end)
