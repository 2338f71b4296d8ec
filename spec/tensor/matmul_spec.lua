local mosaic = require "mosaic"
local close = require "spec.support.close"
local plain = require "spec.support.plain"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local function product(a, b) return plain.matmul(a:tolist(), b:tolist()) end

describe("matmul", function()
  it("multiplies matrices of any shape, plain and transposed", function()
    for _, size in ipairs { { 1, 1, 1 }, { 3, 4, 5 }, { 1, 7, 9 }, { 33, 17, 1 },
      { 65, 31, 66 }, { 4, 1, 3 } } do
      local m, k, n = unpack(size)
      local a, b = fill { m, k }, fill({ k, n }, { seed = 1 })
      local want = product(a, b)
      close(a:matmul(b), want)
      close(a:t():contiguous():t():matmul(b), want)
      close(a:matmul(b:t():contiguous():t()), want)
      close(a:t():contiguous():t():matmul(b:t():contiguous():t()), want)
    end
  end)

  it("takes operands with any strides", function()
    local a, b = fill { 8, 10 }, fill({ 10, 12 }, { seed = 1 })
    local rows, columns = a:slice(1, 1, 8, 2):slice(2, 2, 10, 3), b:slice(1, 4, 6):slice(2, 1, 12, 4)
    close(rows:matmul(columns), product(rows, columns))
    local repeated = fill { 1, 3 }:expand(4, 3)
    close(repeated:matmul(columns), product(repeated, columns))
    local ones = mosaic.ones { 1, 1, dtype = "f64" }:expand(2, 3)
    close(ones:matmul(columns), product(ones, columns))
  end)

  it("multiplies vectors", function()
    local v, w, a = fill { 5 }, fill({ 5 }, { seed = 1 }), fill({ 5, 3 }, { seed = 2 })
    close(v:matmul(w), plain.matmul({ v:tolist() }, plain.transpose { w:tolist() })[1][1])
    close(v:matmul(a), plain.matmul({ v:tolist() }, a:tolist())[1])
    close(a:t():matmul(v), plain.matmul({ v:tolist() }, a:tolist())[1])
    assert.same({ 4, 3 }, fill { 4, 2, 3 }:transpose(2, 3):matmul(fill { 2 }).shape)
  end)

  it("broadcasts leading axes", function()
    local a, b = fill { 2, 1, 3, 4 }, fill({ 5, 4, 6 }, { seed = 1 })
    local c = a:matmul(b)
    assert.same({ 2, 5, 3, 6 }, c.shape)
    for i = 1, 2 do
      for j = 1, 5 do close(c[i][j], product(a[i][1], b[j])) end
    end
  end)

  it("multiplies a stack by one matrix, whatever the order of the stack's axes", function()
    local x, w = fill { 3, 70, 2, 8 }, fill({ 8, 5 }, { seed = 1 })
    for _, order in ipairs { { 1, 2, 3, 4 }, { 1, 3, 2, 4 }, { 3, 2, 1, 4 }, { 2, 1, 4, 3 } } do
      local view = x:permute(order)
      local matrix = order[4] == 4 and w or fill({ 2, 5 }, { seed = 2 })
      local rows = view:contiguous():view(-1, view:size(4))
      local want = mosaic.tensor(product(rows, matrix), { dtype = "f64" })
      close(view:matmul(matrix):view(-1, 5), want:tolist())
    end
  end)

  it("adds up long sums in f32 as well as in chunks of doubles", function()
    local a, b = fill({ 3, 9001 }, { dtype = "f32" }), fill({ 9001, 2 }, { dtype = "f32", seed = 1 })
    close(a:matmul(b), product(a, b), 2e-6)
  end)

  it("cuts the long sums of a small result, with a bias and from both sides", function()
    for _, k in ipairs { 1023, 1024, 1025, 1100, 3001, 4097 } do
      for _, dtype in ipairs { "f32", "f64" } do
        local bound = dtype == "f32" and 3e-6 or 1e-13
        local a, w = fill({ 49, k }, { dtype = dtype }), fill({ 47, k }, { dtype = dtype, seed = 1 })
        local b, want = fill({ 47 }, { dtype = dtype, seed = 2 }), product(a, w:t())
        close(a:matmul(w:t()), want, bound)
        close(a:t():contiguous():t():matmul(w:t():contiguous()), want, bound)
        for _, row in ipairs(want) do
          for j, value in ipairs(b:tolist()) do row[j] = row[j] + value end
        end
        close(mosaic.linear(a, w, b), want, bound)
      end
    end
  end)

  it("multiplies large matrices, plain and transposed", function()
    local a, b = fill({ 533, 519 }, { dtype = "f32" }), fill({ 519, 530 }, { dtype = "f32", seed = 1 })
    local want = product(a, b)
    close(a:matmul(b), want, 2e-6)
    close(a:t():contiguous():t():matmul(b), want, 2e-6)
    close(a:matmul(b:t():contiguous():t()), want, 2e-6)
  end)

  it("multiplies f32 matrices as layers do, with edges of every kind", function()
    for _, size in ipairs { { 64, 16, 32 }, { 67, 400, 37 }, { 131, 33, 49 }, { 97, 20, 100 },
      { 200, 96, 48 }, { 400, 500, 64 }, { 70, 300, 96 }, { 97, 96, 192 }, { 83, 100, 100 }, { 99, 600, 70 },
      { 64, 64, 400 } } do
      local m, k, n = unpack(size)
      local a, w = fill({ m, k }, { dtype = "f32" }), fill({ n, k }, { dtype = "f32", seed = 1 })
      local b = fill({ n }, { dtype = "f32", seed = 2 })
      local want = product(a, w:t())
      close(a:matmul(w:t()), want, 2e-6)
      close(a:matmul(w:t():contiguous()), want, 2e-6)
      close(a:t():contiguous():t():matmul(w:t()), want, 2e-6)
      close(a:t():contiguous():t():matmul(w:t():contiguous()), want, 2e-6)
      close(a:t():contiguous():t():linear(w, b),
        (mosaic.tensor(want, { dtype = "f64" }) + b:to "f64"):tolist(), 2e-6)
      local wide = fill({ m, 2 * k }, { dtype = "f32", seed = 3 })
      close(wide:slice(2, k + 1, 2 * k):linear(w), product(wide:slice(2, k + 1, 2 * k), w:t()), 2e-6)
      local apart = fill({ m, 2, k }, { dtype = "f32", seed = 4 }):transpose(1, 2)
      close(apart:linear(w)[2], product(apart[2], w:t()), 2e-6)
    end
  end)

  describe("of f32 matrices as layers have them,", function()
    local m, k, n = 100, 64, 100
    local inf, nan = math.huge, 0 / 0

    --- Irregular f32 numbers, each times 2^exponent(i, j).
    local function scaled(rows, columns, seed, exponent)
      local values = fill({ rows, columns }, { dtype = "f32", seed = seed }):tolist()
      for i, row in ipairs(values) do
        for j, x in ipairs(row) do row[j] = x * 2 ^ exponent(i, j) end
      end
      return mosaic.tensor(values, { dtype = "f32" })
    end

    --- All ways in which the product's operands may lie; each is given to check.
    local function products(a, w, check)
      check(a:matmul(w:t()))
      check(a:matmul(w:t():contiguous()))
      check(a:t():contiguous():t():matmul(w:t()))
      check(a:t():contiguous():t():matmul(w:t():contiguous()))
      check(a:linear_backward(w:t():contiguous(), mosaic.zeros { m, n, dtype = "f32" }))
    end

    --- As close to sums of doubles as k multiply-adds, one after the other, must be.
    local function as_close_as_sums(c, a, w)
      c, a, w = c:tolist(), a:tolist(), w:tolist()
      for i = 1, m do
        for j = 1, n do
          local sum, size = 0, 0
          for p = 1, k do
            local x = a[i][p] * w[j][p]
            sum, size = sum + x, size + math.abs(x)
          end
          local room = k * (2 ^ -24 * size + 2 ^ -149)
          if not (math.abs(c[i][j] - sum) <= room) then
            error(("element %d,%d is %g, expected %g within %g"):format(i, j, c[i][j], sum, room))
          end
        end
      end
    end

    it("is as exact at the ends of the range as in its middle, and where both are in one row", function()
      local ends = { -148, -135, -126, -100, -60, 0, 40, 90, 110 }
      local columns = { -30, -12, 0, 9 }
      local function of_column(j) return columns[j % #columns + 1] end
      local a = scaled(m, k, 0, function(i) return ends[i % #ends + 1] end)
      local mixed = scaled(m, k, 1, function(i, p) return ends[(i + 7 * p) % #ends + 1] end)
      local w = scaled(n, k, 2, of_column)
      local small = scaled(n, k, 3, function(j, p) return -147 + (j + p) % 30 end)
      products(a, w, function(c) as_close_as_sums(c, a, w) end)
      products(mixed, w, function(c) as_close_as_sums(c, mixed, w) end)
      products(a, small, function(c) as_close_as_sums(c, a, small) end)
      products(small, a, function(c) as_close_as_sums(c, small, a) end)
    end)

    it("keeps all bits of a single term but the last two", function()
      local term = scaled(m, k, 0, function(i, p) return p == i % k + 1 and 0 or -inf end)
      local w = fill({ n, k }, { dtype = "f32", seed = 1 })
      local want, x, y = {}, term:tolist(), w:tolist()
      for i = 1, m do
        want[i] = {}
        for j = 1, n do want[i][j] = x[i][i % k + 1] * y[j][i % k + 1] end
      end
      products(term, w, function(c)
        c = c:tolist()
        for i = 1, m do
          for j = 1, n do close(c[i][j] / want[i][j], 1, 2 ^ -22) end
        end
      end)
    end)

    it("overflows no sooner than f32 does, and passes infinities and NaN on, in their rows alone", function()
      local w = fill({ n, k }, { dtype = "f32", seed = 1 }):tolist()
      for j = 1, n do w[j][1], w[j][2] = 0.5, 0.25 end
      w[7][1], w[8][1], w[9][1] = 4, 0, -0.5
      local plain_rows = fill({ m, k }, { dtype = "f32" })
      local a = plain_rows:tolist()
      -- What a row begins with, 0 from there on; and some of its results.
      local rows = {
        [3] = { { 2 ^ 127 }, { [1] = 2 ^ 126, [7] = inf, [8] = 0, [9] = -2 ^ 126 } },
        [20] = { { inf }, { [1] = inf, [7] = inf, [8] = nan, [9] = -inf } },
        [50] = { { inf, -inf }, { [1] = nan, [7] = nan, [8] = nan, [9] = -inf } },
        [51] = { { nan }, { [1] = nan, [7] = nan, [8] = nan, [9] = nan } },
        [99] = { { -2 ^ 127 }, { [1] = -2 ^ 126, [7] = -inf, [8] = 0, [9] = 2 ^ 126 } },
      }
      for i, row in pairs(rows) do
        for p = 1, k do a[i][p] = row[1][p] or 0 end
      end
      local x, weights = mosaic.tensor(a, { dtype = "f32" }), mosaic.tensor(w, { dtype = "f32" })
      local quiet = plain_rows:matmul(weights:t())
      products(x, weights, function(c)
        for i, row in pairs(rows) do
          for j, value in pairs(row[2]) do close(c[i][j]:item(), value, 0) end
        end
      end)
      local loud = x:matmul(weights:t())
      for i = 1, m do
        if not rows[i] then assert.same(quiet[i]:flat(), loud[i]:flat()) end
      end
    end)
  end)

  --- How many elements of two lists are not the same: lists as long as these are not to be printed.
  local function differing(a, b)
    local count = math.abs(#a - #b)
    for i = 1, #a do count = count + (a[i] == b[i] and 0 or 1) end
    return count
  end

  it("gives the same bits on one, two and five threads", function()
    local C = require "mosaic.ffi"
    local before = C.mosaic_threads()
    local function results()
      local tall = fill({ 1100, 40 }, { dtype = "f32" })
      local stack = fill({ 6, 70, 70 }, { dtype = "f32" })
      return { tall:matmul(tall:t():slice(2, 1, 90)), tall:t():matmul(tall), stack:matmul(stack),
        fill({ 5, 9000 }, { dtype = "f32" }):matmul(fill({ 9000, 7 }, { dtype = "f32" })),
        fill({ 1100, 96 }, { dtype = "f32" }):linear(fill({ 100, 96 }, { dtype = "f32" })),
        fill({ 5000, 96 }, { dtype = "f32" }):t():matmul(fill({ 5000, 100 }, { dtype = "f32" })),
        fill({ 1300, 96 }, { dtype = "f32" }):t():matmul(fill({ 1300, 90 }, { dtype = "f32" })),
        fill({ 1100, 530 }, { dtype = "f32" }):matmul(fill({ 530, 600 }, { dtype = "f32" })),
        fill({ 1100, 70 }):matmul(fill({ 70, 600 })) }
    end
    finally(function() C.mosaic_set_threads(before) end)
    C.mosaic_set_threads(1)
    local alone = results()
    for _, threads in ipairs { 2, 5 } do
      C.mosaic_set_threads(threads)
      for i, t in ipairs(results()) do assert.equal(0, differing(alone[i]:flat(), t:flat())) end
    end
  end)

  it("sums bf16 and f16 in f32 and integers exactly", function()
    for dtype, bound in pairs { bf16 = 2 ^ -8, f16 = 2 ^ -11, f32 = 1e-6, i32 = 0, i64 = 0, u8 = 0 } do
      local a = mosaic.arange(1, 6, { dtype = dtype }):view(3, 2)
      close(a:matmul(a:t()), product(a, a:t()), bound)
    end
    local ones = mosaic.ones { 1, 1000, dtype = "bf16" }
    assert.equal(1000, ones:matmul(ones:t()):item())
    local big = mosaic.tensor({ { 2 ^ 40 + 1, 2 ^ 31 } }, { dtype = "i64" })
    assert.equal(2 ^ 41 + 2 + 3 * 2 ^ 31, big:matmul(mosaic.tensor({ 2, 3 }, { dtype = "i64" })):item())
  end)

  it("gives zeros for an empty sum and nothing for no rows", function()
    close(fill { 2, 0 }:matmul(fill { 0, 3 }), { { 0, 0, 0 }, { 0, 0, 0 } })
    assert.same({ 0, 3 }, fill { 0, 2 }:matmul(fill { 2, 3 }).shape)
    assert.same({ 0, 4, 3 }, fill { 0, 4, 2 }:matmul(fill { 2, 3 }).shape)
  end)

  it("names the shapes that do not fit", function()
    local a = mosaic.zeros { 2, 3 }
    fails("matmul: f32 [2,3] has 3 columns, f32 [2,3] has 2 rows", function() a:matmul(a) end)
    fails("matmul: the leading axes of f32 [4,2,3] and f32 [5,3,2] do not broadcast",
      function() mosaic.zeros { 4, 2, 3 }:matmul(mosaic.zeros { 5, 3, 2 }) end)
    fails("matmul: expected one dtype, got f32 [2,3] and f64 [3,2]",
      function() a:matmul(mosaic.zeros { 3, 2, dtype = "f64" }) end)
    fails("matmul: expected matrices or vectors, got f32 [2,3] and f32 []",
      function() a:matmul(mosaic.tensor(1)) end)
    fails("matmul: the second operand must be a tensor, got 3", function() a:matmul(3) end)
  end)
end)
