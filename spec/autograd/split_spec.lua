--- The gradients of the parts of a split meet in one tensor, some written there at once.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

--- The gradient of x (2, 5, 12) through f(parts of 4 along the last axis), walked back `times` times.
local function gradient(x, cut, f, times)
  local leaf = x:clone():requires_grad_()
  local out = f(unpack(cut(leaf)))
  local weights = fill(out.shape, { dtype = x.dtype, seed = 9 })
  for i = 1, times or 1 do (out * weights):sum():backward(nil, { retain_graph = i < (times or 1) }) end
  return leaf.grad
end

--- The same pieces by views that do not know of one another.
local function narrowed(x)
  return { x:narrow(3, 1, 4), x:narrow(3, 5, 4), x:narrow(3, 9, 4) }
end

local function split(x) return x:split(4, 3) end

local function attend(q, k, v) return (mosaic.sdpa(q:unsqueeze(2), k:unsqueeze(2), v:unsqueeze(2))) end
local function attend_parts(q, k, v) return (mosaic.sdpa(q, k, v)) end

describe("split", function()
  for name, f in pairs {
    ["all parts attended with"] = attend_parts,
    ["views of the parts attended with"] = attend,
    ["one part as query and key"] = function(a, _, c) return attend_parts(a, a, c) end,
    ["one part as key and value"] = function(a, b) return attend_parts(a, b, b) end,
    ["one part for everything"] = function(_, b) return attend_parts(b, b, b) end,
    ["a part used before attention too"] = function(a, b, c) return attend_parts(a * a, b, c) + a end,
    ["a part used in two attentions"] = function(a, b, c)
      return attend_parts(a, b, c) + attend_parts(c, b, a)
    end,
    ["parts that nothing is done with"] = function(a) return a:exp() end,
  } do
    it("gives the whole its gradient: " .. name, function()
      for dtype, bound in pairs { f64 = 1e-13, f32 = 2e-6 } do
        local x = fill({ 2, 5, 12 }, { dtype = dtype })
        local want = gradient(x, narrowed, f)
        close(gradient(x, split, f), want, bound)
        close(gradient(x, split, f, 2), want * 2, bound)
      end
    end)
  end
end)
