--- Several threads share the keys of one head backward: the same bits as one, and the truth.
local mosaic = require "mosaic"
local support = require "spec.support.attention"

local values, operands, shuffled = support.values, support.operands, support.shuffled

--- Axes that make two to four chunks of keys, of which the last one is short, and tiles that are not whole.
local CASES = {
  { "plain", { 1, 1, 1, 301, 1037, 8 } },
  { "causal", { 1, 1, 1, 1301, 1301, 3 }, { mask = { causal = true } } },
  { "window, grouped heads", { 1, 4, 2, 211, 1037, 5 }, { mask = { window = { 30, 500 } } } },
  { "shuffled positions, causal", { 1, 1, 1, 307, 1037, 7 },
    { mask = { causal = true }, q_positions = shuffled(307, 5), k_positions = shuffled(1037, 7) } },
  { "bias of all pairs", { 1, 2, 2, 89, 1037, 12 }, { mask = { bias = values({ 2, 89, 1037 }, 4, "f32") } } },
  { "bias shared by batch and heads", { 2, 3, 1, 53, 1037, 9 },
    { mask = { bias = values({ 53, 1037 }, 4, "f32") } } },
  { "bias shared by keys", { 1, 2, 1, 89, 1037, 12 }, { mask = { bias = values({ 89, 1 }, 4, "f32") } } },
  { "dropout", { 1, 1, 1, 129, 1037, 17 }, { dropout = { p = 0.3, seed = 11 } } },
  { "documents", { 1, 1, 1, 1037, 1037, 4 }, { mask = { documents = support.documents(1037, 90) } } },
  { "score", { 1, 1, 1, 201, 1037, 11 },
    { mask = { score = function(s, _, _, i, j) return s - (i - j) / 256 end } } },
}

describe("backward attention on several threads", function()
  local before = mosaic.threads()
  after_each(function() mosaic.set_threads(before) end)

  --- Results on 1, 2, 3 and 5 threads, which are the same.
  local function shared(name, body)
    mosaic.set_threads(1)
    local one = body()
    for _, threads in ipairs { 2, 3, 5, 2 } do
      mosaic.set_threads(threads)
      for key, t in pairs(body()) do
        assert.same(one[key]:flat(), t:flat(), ("%s of %s on %d threads"):format(key, name, threads))
      end
    end
    return one
  end

  for _, case in ipairs(CASES) do
    local name, sizes, options = unpack(case)
    for _, dtype in ipairs { "f32", "f64", "bf16" } do
      it(("gives the same bits: %s, %s"):format(name, dtype), function()
        local q, k, v = operands(sizes, dtype)
        local dout = values(q.shape, 7, dtype == "f64" and "f64" or "f32")
        shared(name, function() return support.run(q, k, v, options or {}, dout) end)
      end)
    end
  end

  it("has at most twice the error of a plain implementation", function()
    mosaic.set_threads(3)
    for _, i in ipairs { 1, 3, 4, 8 } do
      local name, sizes, options = unpack(CASES[i])
      local q, k, v = operands(sizes, "f32")
      support.expect_accurate(q, k, v, options, " for " .. name)
    end
  end)

  it("is exact in f64", function()
    mosaic.set_threads(3)
    for _, i in ipairs { 3, 4, 5, 6 } do
      local _, sizes, options = unpack(CASES[i])
      local q, k, v = operands(sizes, "f64")
      support.expect_exact(q, k, v, options)
    end
  end)

  it("adds to gradients that are there", function()
    for _, dtype in ipairs { "f32", "f64" } do
      local q, k, v = operands({ 1, 2, 1, 130, 1037, 10 }, dtype)
      local dout = values(q.shape, 7, dtype)
      local out, lse = mosaic.attention.forward(q, k, v)
      local delta = mosaic.attention.delta(dout, out)
      local function added()
        local into = { values(q.shape, 21, dtype), values(k.shape, 22, dtype), values(v.shape, 23, dtype) }
        mosaic.attention.backward(dout, lse, delta, q, k, v, { into = into })
        return { dq = into[1], dk = into[2], dv = into[3] }
      end
      local total, fresh = shared("accumulated", added), support.run(q, k, v, {}, dout)
      for i, name in ipairs { "dq", "dk", "dv" } do
        local expected = (fresh[name] + values(fresh[name].shape, 20 + i, dtype)):flat()
        local bound = support.largest(expected) * (dtype == "f32" and 2e-6 or 1e-14)
        support.expect(name, total[name], expected, bound)
      end
    end
  end)

  it("leaves queries and keys that see nothing without gradients", function()
    local q, k, v = operands({ 1, 1, 1, 400, 1037, 8 }, "f32")
    local options = { mask = { causal = true }, q_positions = {}, k_positions = {} }
    for i = 1, 400 do options.q_positions[i] = i - 100 + (i > 200 and 300 or 0) end
    for j = 1, 1037 do options.k_positions[j] = j + 50 end
    local found = shared("seeing nothing", function()
      return support.run(q, k, v, options, values(q.shape, 7, "f32"))
    end)
    local blind = found.dq:slice(3, 1, 150):flat()
    for i = 1, #blind do assert.equal(0, blind[i]) end
    local unseen = found.dk:slice(3, 551, 1037):flat()
    for i = 1, #unseen do assert.equal(0, unseen[i]) end
    assert.is_true(support.largest(found.dq:flat()) > 0)
  end)
end)
