local mosaic = require "mosaic"
local Labels = require "nanotabpfn.labels"
local close = require "spec.support.close"
local dataset = require "nanotabpfn.dataset"
local files = require "spec.support.files"

local TRAIN = 'size,"colour, mixed",kind\n1.5,red,b\n2.5,"blue",a\n,red,b\n4,"gr""een",a\n'
local TEST = '"colour, mixed",size\nblue,7\nyellow,8\n'

--- All rows of x and y, put together from the ranks' parts; and the facts.
local function read(ranks, options)
  options.train, options.test = options.train or files.write(TRAIN), options.test or files.write(TEST)
  options.target, options.outputs = options.target or "kind", options.outputs or 2
  local results = mosaic.virtual(ranks, function(comm)
    local own = { comm = comm }
    for name, value in pairs(options) do own[name] = value end
    local ok, x, y, facts = pcall(dataset.read, own)
    if not ok then return { message = tostring(x) } end
    return { x = comm:all_gather(x, 2), y = comm:all_gather(y, 2), facts = facts }
  end)
  for _, result in ipairs(results) do assert.equal(results[1].message, result.message) end
  return results[1]
end

local function fails_with(text, ranks, options)
  local message = read(ranks, options).message
  assert.truthy(message and message:find(text, 1, true), ("%q is not in %q"):format(text, tostring(message)))
end

describe("dataset.read", function()
  it("joins train and test rows over 1 to 7 ranks, columns by name", function()
    for _, ranks in ipairs { 1, 2, 3, 7 } do
      local got = read(ranks, { impute = "mean" })
      close(got.x, { { { 1.5, 2 }, { 2.5, 0 }, { 8 / 3, 2 }, { 4, 1 }, { 7, 0 }, { 8, 3 } } })
      close(got.y:narrow(2, 1, 4), { { 1, 0, 1, 0 } })
      assert.equal(4, got.facts.train_rows)
      assert.equal(2, got.facts.test_rows)
      assert.same({ "a", "b" }, got.facts.labels.names)
    end
  end)

  it("does not care whether the test file has the target", function()
    local test = files.write "kind,size,\"colour, mixed\"\nzebra,7,blue\na,8,yellow\n"
    close(read(2, { impute = "mean", test = test }).x, read(2, { impute = "mean" }).x)
  end)

  it("refuses a missing value with its row and column, on every rank", function()
    for _, ranks in ipairs { 1, 2, 4 } do
      fails_with("row 3, column 'size' is missing; --impute mean fills it", ranks, {})
    end
    fails_with("row 2, column 'size' is missing", 3,
      { train = files.write "size,kind\n1,a\n2,b\n", test = files.write "size\n1\nNA\n" })
  end)

  it("refuses labels that do not fit, with the numbers", function()
    fails_with("3 classes (a, b, c), but the model can tell apart 2", 2,
      { train = files.write "x,kind\n1,a\n2,b\n3,c\n" })
    fails_with("all train rows have the label 'a'; at least 2 classes are needed", 1,
      { train = files.write "x,kind\n1,a\n2,a\n" })
    fails_with("row 2, column 'kind': the label is missing", 2, { train = files.write "x,kind\n1,a\n2,\n" })
    fails_with("1 train rows, at least 2 are needed", 2, { train = files.write "x,kind\n1,a\n" })
  end)

  it("refuses files that do not fit together", function()
    fails_with("has no column \"kin\", did you mean 'kind'?", 2, { target = "kin" })
    fails_with("has no column \"size\"", 2,
      { impute = "mean", test = files.write "\"colour, mixed\"\nred\n" })
    fails_with("has no column besides the target 'kind'", 1, { train = files.write "kind\na\nb\n" })
    fails_with("has no rows", 2, { test = files.write "size,\"colour, mixed\"\n" })
  end)
end)

describe("labels", function()
  it("are sorted: numbers by value, other texts by their letters", function()
    assert.same({ "2", "10", "30" }, Labels({ "10", "2", "30", "2.0" }).names)
    assert.same({ 2, 1, 3, 1 }, Labels({ "10", "2", "30", "2.0" }):encode { "10", "2", "30", "2.0" })
    assert.same({ "10", "2", "x" }, Labels({ "x", "2", "10" }).names)
    assert.same({ 1, false }, Labels({ "no", "yes" }):encode { "no", "maybe" })
  end)
end)
