local prior = require "nanotabpfn.prior"
local Stream = require "nanotabpfn.prior.stream"

local TABLES = 200

--- Figures of many 150 x 5 tables of two classes: lists of one entry per table or column.
local function survey()
  local facts = { minority = {}, train_rows = {}, majority_is_0 = 0, few_values = 0, columns = 0 }
  facts.largest = 0
  for index = 1, TABLES do
    local batch = prior.batch { seed = 11, index = index, tables = 1, rows = 150, features = 5, classes = 2 }
    local y, x = batch.y:flat(), batch.x:select(1, 1):t():tolist()
    local ones = 0
    for _, label in ipairs(y) do ones = ones + label end
    facts.minority[index] = math.min(ones, 150 - ones) / 150
    if ones < 75 then facts.majority_is_0 = facts.majority_is_0 + 1 / TABLES end
    facts.train_rows[index] = batch.train_rows
    for _, column in ipairs(x) do
      local seen, count = {}, 0
      for _, value in ipairs(column) do
        assert.equal(value, value) -- no NaN
        facts.largest = math.max(facts.largest, math.abs(value))
        if not seen[value] then seen[value], count = true, count + 1 end
      end
      facts.columns = facts.columns + 1
      if count <= 20 then facts.few_values = facts.few_values + 1 end
    end
  end
  table.sort(facts.minority)
  table.sort(facts.train_rows)
  return facts
end

--- The mistake is named; its position is in the example, which is a program and no library.
local function fails(text, body)
  local ok, message = pcall(body)
  assert(not ok and message:find(text, 1, true), tostring(message))
end

describe("the prior", function()
  local facts

  it("makes tables without a NaN", function()
    facts = survey()
    assert.is_true(facts.largest <= 12.2) -- the most that one of 150 standardised values can be
  end)

  it("has the published share of rare classes", function()
    local expected = { [0.05] = 0.03, [0.25] = 0.11, [0.5] = 0.23, [0.75] = 0.37, [0.95] = 0.47 }
    for quantile, value in pairs(expected) do
      assert.near(value, facts.minority[math.floor(quantile * TABLES)], 0.05)
    end
    assert.near(0.5, facts.majority_is_0, 0.1)
  end)

  it("has the published share of columns with few values", function()
    assert.near(0.14, facts.few_values / facts.columns, 0.06)
  end)

  it("trains on 15 to 134 rows, 75 in the mean", function()
    local sum = 0
    for _, rows in ipairs(facts.train_rows) do sum = sum + rows / TABLES end
    assert.near(75, sum, 6)
    assert.is_true(facts.train_rows[1] >= 15 and facts.train_rows[TABLES] <= 134)
  end)

  it("gives train and test the same two or more classes", function()
    for index = 1, 30 do
      local batch = prior.batch { seed = 5, index = index, tables = 2, rows = 40, features = 3, classes = 6 }
      for _, labels in ipairs(batch.y:tolist()) do
        local train, test, count = {}, {}, 0
        for row, label in ipairs(labels) do
          (row <= batch.train_rows and train or test)[label] = true
          assert.is_true(label >= 0 and label < batch.classes and label % 1 == 0)
        end
        for label in pairs(train) do
          assert.is_true(test[label])
          count = count + 1
        end
        for label in pairs(test) do assert.is_true(train[label]) end
        assert.is_true(count >= 2)
      end
    end
  end)

  it("refuses more tables and batches than there are random numbers for", function()
    local options = { seed = 1, index = 0, tables = 4096, rows = 30, features = 2, classes = 2 }
    fails("prior.batch: tables must be at most 4095, got 4096", function() prior.batch(options) end)
    options.tables, options.index = 1, 2 ^ 21
    fails("prior.batch: index must be at most 2097151, got 2097152", function() prior.batch(options) end)
    local last, first = Stream(1, 0, 4095), Stream(1, 1, 0)
    assert.equal(first.generator:position(), last.last + 1)
    last.generator:seek(last.last)
    last:normals(1, 1)
    fails("Stream: a table has drawn from the generator 1048576 times", function() last:normals(1, 1) end)
    fails("Stream: table 4096 of batch 0", function() Stream(1, 0, 4096) end)
  end)

  it("depends on the seed, the batch and the table alone", function()
    local options = { seed = 1, index = 3, tables = 3, rows = 30, features = 2, classes = 2 }
    local a = prior.batch(options)
    assert.same(a.x:flat(), prior.batch(options).x:flat())
    options.tables = 1
    assert.same(a.x[1]:flat(), prior.batch(options).x[1]:flat())
    options.seed = 2
    assert.not_same(a.x[1]:flat(), prior.batch(options).x[1]:flat())
    options.seed, options.index = 1, 4
    assert.not_same(a.x[1]:flat(), prior.batch(options).x[1]:flat())
  end)
end)
