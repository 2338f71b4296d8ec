local mosaic = require "mosaic"

local function prints(expected, t)
  assert.equal((expected:gsub("on cpu", "on " .. mosaic.default_device())), tostring(t))
end

describe("tostring", function()
  it("aligns numbers with four decimals, then says dtype, shape and device", function()
    prints("[[ 1.5000,  2.0000],\n [-3.2500, 10.0000]]\nf32 [2,2] on cpu",
      mosaic.tensor { { 1.5, 2 }, { -3.25, 10 } })
  end)

  it("shows whole floats with a point, integers without", function()
    prints("[1., 2.]\nf32 [2] on cpu", mosaic.tensor { 1, 2 })
    prints("[ 1, -2]\ni64 [2] on cpu", mosaic.tensor({ 1, -2 }, { dtype = "i64" }))
    prints("[1, 0]\nu8 [2] on cpu", mosaic.tensor({ 1, 2 }):eq(1))
  end)

  it("changes to powers of ten where the range asks for it", function()
    prints("[1.0000e-05, 1.0000e+00]\nf64 [2] on cpu", mosaic.tensor({ 1e-5, 1 }, { dtype = "f64" }))
    prints("[1.0000e+09, 1.0000e+00]\nf32 [2] on cpu", mosaic.tensor { 1e9, 1 })
    prints("[0.0000, 0.2500]\nf32 [2] on cpu", mosaic.tensor { 0, 0.25 })
  end)

  it("shows scalars, empty tensors, NaN, infinities and requires_grad", function()
    prints("3.1416\nf32 [] on cpu", mosaic.tensor(math.pi))
    prints("[]\nf32 [0,3] on cpu", mosaic.zeros { 0, 3 })
    prints("[   nan,   -inf, 2.5000]\nf32 [3] on cpu", mosaic.tensor { 0 / 0, -math.huge, 2.5 })
    prints("[0.]\nf32 [1] on cpu, requires_grad", mosaic.zeros { 1, requires_grad = true })
  end)

  it("separates matrices by an empty line", function()
    prints("[[[1],\n  [2]],\n\n [[3],\n  [4]]]\ni64 [2,2,1] on cpu", mosaic.arange(1, 4):view(2, 2, 1))
  end)

  it("shows the ends of what has more than 1000 elements, and breaks lines at 80 columns", function()
    prints("[   1,    2,    3, ..., 1999, 2000, 2001]\ni64 [2001] on cpu", mosaic.arange(1, 2001))
    local rows = tostring(mosaic.arange(1, 4000):view(4, 1000))
    assert.equal("[[   1,    2,    3, ...,  998,  999, 1000],", rows:match "^[^\n]+")
    local _, lines = rows:gsub("\n", "")
    assert.equal(4, lines)
    for line in tostring(mosaic.arange(1, 100)):gmatch "[^\n]+" do assert.is_true(#line <= 80) end
    assert.equal("[100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114,",
      tostring(mosaic.arange(100, 300)):match "^[^\n]+")
  end)
end)
