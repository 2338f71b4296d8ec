local mosaic = require "mosaic"
local close = require "spec.support.close"
local plain = require "spec.support.plain"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local inf, nan = math.huge, 0 / 0
local BOUND = { f64 = 1e-13, f32 = 5e-7, bf16 = 2 ^ -8, f16 = 2 ^ -11 }

--- fill's numbers between -spread and spread, in the dtype.
local function input(shape, spread, dtype)
  local values = fill(shape):flat()
  for i, x in ipairs(values) do values[i] = x * spread end
  return mosaic.tensor(values, { dtype = dtype }):reshape(shape)
end

describe("softmax and log_softmax", function()
  it("match exp and sum in doubles along the last axis, in every dtype and length", function()
    for dtype, bound in pairs(BOUND) do
      for _, n in ipairs { 1, 2, 7, 16, 17, 33, 200 } do
        local x = input({ 3, n }, 8, dtype)
        close(x:softmax(), plain.map_rows(x:tolist(), plain.softmax), bound)
        close(x:log_softmax(-1), plain.map_rows(x:tolist(), plain.log_softmax), bound)
      end
    end
  end)

  it("work along any axis of a strided tensor", function()
    for _, dtype in ipairs { "f64", "f32" } do
      local x = input({ 3, 40, 5 }, 4, dtype)
      for axis = 1, 3 do
        local last = x:transpose(axis, 3)
        local want = mosaic.tensor(plain.map_rows(last:tolist(), plain.softmax), { dtype = "f64" })
        close(x:softmax(axis), want:transpose(axis, 3):tolist(), BOUND[dtype])
        close(last:softmax(3), want:tolist(), BOUND[dtype])
      end
    end
  end)

  it("stand far-off values, infinities and NaN", function()
    for _, dtype in ipairs { "f64", "f32" } do
      local x = mosaic.tensor({ { 1000, 1000, -1000 }, { -inf, 0, 0 }, { -inf, -inf, -inf }, { 1, nan, 2 },
        { inf, 0, 1 } }, { dtype = dtype })
      close(x:softmax(2):slice(1, 1, 2), { { 0.5, 0.5, 0 }, { 0, 0.5, 0.5 } })
      close(x:softmax(2):slice(1, 3, 5), { { nan, nan, nan }, { nan, nan, nan }, { nan, nan, nan } })
      close(x:log_softmax(2):slice(1, 1, 2), { { -math.log(2), -math.log(2), -2000 - math.log(2) },
        { -inf, -math.log(2), -math.log(2) } }, 1e-7)
    end
  end)

  it("have values for nothing and for one thing", function()
    assert.same({ 0, 3 }, mosaic.zeros { 0, 3 }:softmax().shape)
    assert.same({ 3, 0 }, mosaic.zeros { 3, 0 }:softmax().shape)
    assert.same({ 1, 1 }, mosaic.zeros { 2, 1 }:softmax():flat())
  end)

  it("refuse integers and axes that are not there", function()
    fails("softmax: expected a float tensor, got i64 [3]", function() mosaic.arange(1, 3):softmax() end)
    fails("log_softmax: axis 3 is out of range for 2 dims", function() fill { 2, 2 }:log_softmax(3) end)
  end)
end)

describe("layer_norm and rms_norm", function()
  it("match their formulas in every dtype and length", function()
    for dtype, bound in pairs(BOUND) do
      for _, n in ipairs { 1, 5, 16, 31, 96, 130 } do
        local x = input({ 2, 3, n }, 3, dtype)
        local w, b = fill({ n }, { dtype = dtype, seed = 1 }), fill({ n }, { dtype = dtype, seed = 2 })
        local wl, bl = w:tolist(), b:tolist()
        close(x:layer_norm(w, b, 1e-3), plain.map_rows(x:tolist(),
          function(row) return plain.layer_norm(row, wl, bl, 1e-3) end), 2 * bound)
        close(x:layer_norm(), plain.map_rows(x:tolist(),
          function(row) return plain.layer_norm(row, nil, nil, 1e-5) end), 2 * bound)
        close(x:rms_norm(w), plain.map_rows(x:tolist(),
          function(row) return plain.rms_norm(row, wl, 1e-5) end), 2 * bound)
      end
    end
  end)

  it("keep their digits far from zero", function()
    local x = mosaic.tensor({ 1e6 + 1, 1e6 + 2, 1e6 + 3, 1e6 + 4 }, { dtype = "f64" })
    close(x:to "f32":layer_norm(), plain.layer_norm({ 1, 2, 3, 4 }, nil, nil, 1e-5), 1e-6)
  end)

  it("take strided inputs", function()
    local x = fill { 6, 4, 5 }
    local view = x:permute(2, 3, 1)
    close(view:layer_norm(), view:contiguous():layer_norm():tolist())
    close(x:slice(1, 1, 6, 2):rms_norm(), x:slice(1, 1, 6, 2):contiguous():rms_norm():tolist())
  end)

  it("are taken of a sum, in every dtype and from any strides", function()
    for dtype, bound in pairs(BOUND) do
      for _, n in ipairs { 1, 5, 31, 96 } do
        local x, y = input({ 3, 4, n }, 3, dtype), input({ 4, n, 3 }, 2, dtype):permute(3, 1, 2)
        local w, b = fill({ n }, { dtype = dtype, seed = 1 }), fill({ n }, { dtype = dtype, seed = 2 })
        local wl, bl = w:tolist(), b:tolist()
        local wide = x:to "f64" + y:to "f64"
        local want = plain.map_rows(wide:tolist(),
          function(row) return plain.layer_norm(row, wl, bl, 1e-3) end)
        local out, sum = x:add_layer_norm_forward(y, w, b, 1e-3)
        close(sum, wide:tolist(), bound)
        close(out, want, 4 * bound)
        close(y:add_layer_norm(x, w, b, 1e-3), want, 4 * bound)
      end
    end
    assert.same({ 0, 3 }, mosaic.zeros { 0, 3 }:add_layer_norm(mosaic.zeros { 0, 3 }).shape)
  end)

  it("say which vectors they expect", function()
    fails("layer_norm: the weight must be f64 [3] for the input f64 [2,3], got f64 [2]",
      function() fill { 2, 3 }:layer_norm(fill { 2 }) end)
    fails("rms_norm: expected a float tensor with at least 1 dim, got i64 [3]",
      function() mosaic.arange(1, 3):rms_norm() end)
    fails("layer_norm: the bias must be a tensor, got 1", function() fill { 3 }:layer_norm(nil, 1) end)
    fails("add_layer_norm: f64 [3] cannot be added to f64 [2,3]: expected the same sizes and dtype",
      function() fill { 2, 3 }:add_layer_norm(fill { 3 }) end)
    fails("add_layer_norm: the bias must be f64 [3] for the input f64 [2,3], got f64 [2]",
      function() fill { 2, 3 }:add_layer_norm(fill { 2, 3 }, nil, fill { 2 }) end)
  end)
end)
