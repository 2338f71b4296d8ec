local mosaic = require "mosaic"
local fails = require "spec.support.fails"

local keep, score = mosaic.program.keep, mosaic.program.score

describe("tracing", function()
  it("shares what is equal, folds what is constant, and tells programs apart", function()
    local w = 3
    local text = keep(function(_, _, i, j) return i - j <= w * 2 and i - j >= 0 end):describe()
    local steps = "{#6 = sub(i, j); #8 = le(#6, 6); #10 = le(0, #6); #11 = and(#8, #10)}"
    assert.truthy(text:find(steps, 1, true), text)
    local tables = { { 1, 2 }, { 1, 3 } }
    local function of(t) return score(function(s, _, h) return s + t[h] end):describe() end
    assert.equal(of(tables[1]), of { 1, 2 })
    assert.not_equal(of(tables[1]), of(tables[2]))
  end)

  it("leaves everything as it was, also after an error", function()
    local abs, list, nested = math.abs, { 1, 2, 3 }, { deep = { { 1, 2 }, { 3, 4 } } }
    local function helper(d) return abs(d) + math.floor(d / 2) end
    local environment = getfenv(helper)
    keep(function(_, h, i, j) return helper(i - j) < list[h] + nested.deep[h][1] end)
    fails("must return true or false, got nil", function() keep(function(_, h) helper(list[h]) end) end)
    assert.equal(math.abs, abs)
    assert.is_nil(getmetatable(list))
    assert.is_nil(getmetatable(nested.deep[1]))
    assert.equal(environment, getfenv(helper))
    assert.equal(3, helper(2))
  end)

  it("sees through captured helpers, globals, objects and sets", function()
    local object = setmetatable({ slopes = { 1, 2 } }, { __index = { scale = 3 } })
    global_slopes = { 0.5, 0.25 } -- luacheck: ignore
    local program = score(function(s, _, h, i, j)
      return s * object.scale - object.slopes[h] * (i - j) + global_slopes[h] -- luacheck: ignore
    end)
    global_slopes = nil -- luacheck: ignore
    assert.truthy(program:describe():find("mul(s, 3)", 1, true))
    local flags = { true, false, true }
    local text = keep(function(_, _, _, j) return flags[j] == true end):describe()
    assert.truthy(text:find("within(j, 3)", 1, true), text)
  end)

  it("looks up tensors and nested lists, with numbers too", function()
    local t = mosaic.tensor({ { 1, 2 }, { 3, 4 } }, { dtype = "i64" })
    local text = score(function(s, _, h, i) return s + mosaic.lookup(t, h, i) end):describe()
    assert.truthy(text:find("table1", 1, true), text)
    assert.equal(3, mosaic.lookup(t, 2, 1))
    assert.equal(6, mosaic.lookup({ { 5, 6 } }, 1, 2))
  end)
end)

describe("tracing refuses", function()
  --- The error points into this file: at f, or at its caller.
  local function refuses(text, f)
    local ok, message = pcall(keep, f)
    assert.is_false(ok)
    assert.truthy(message:find(text, 1, true), message)
    assert.truthy(message:match "^[^\n]*trace_spec%.lua:%d+: ", message)
  end

  it("results of the wrong kind", function()
    refuses("mosaic.program.keep must return true or false, got nil", function() end)
    refuses("must return true or false, got a symbol", function(_, _, i) return i end)
    refuses("must return true or false, got 1", function() return 1 end)
    fails("mosaic.program.score must return a number, got true", function()
      score(function(_, _, _, i, j) return i < j end)
    end)
    fails("mosaic.program.score: the first argument must be a function, got 3", function() score(3) end)
  end)

  it("operations that symbols cannot do, at the line where they are", function()
    local function points_at(text, f)
      local ok, message = pcall(keep, f)
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
      local line = tonumber(message:match "_spec%.lua:(%d+): ")
      assert.equal(debug.getinfo(f, "S").linedefined + 1, line, message)
    end
    points_at("a symbol has no 'cosh' (known: abs, ceil, clamp,", function(_, _, i)
      return i:cosh() < 2
    end)
    points_at("mosaic.program.keep: a symbol is no number: use math.abs, floor,", function(_, _, i)
      return math.fmod(i, 2) == 0
    end)
    points_at("write x:log() / math.log(base)", function(_, _, i)
      return math.log(i, 2) < 3
    end)
    points_at("cannot compare with string", function(_, _, i)
      return i < "3"
    end)
    points_at("cannot add nil; a list is looked up as list[h], a tensor as mosaic.lookup(tensor, h)",
      function(_, _, i, j)
        return i + ({ 1, 2 })[j] > 0
      end)
    points_at("a symbol is no text", function(_, _, i)
      return "row " .. i == "row 1"
    end)
    points_at("assigns to the global 'leaked': it must only compute", function(_, _, i)
      leaked = i -- luacheck: ignore
    end)
  end)

  it("too many ways, and loops without an end", function()
    refuses("has more than 256 ways through its comparisons: let it return early", function(_, _, i, j)
      local count = 0
      for n = 1, 20 do
        if i - j == n * n then count = count + n end
      end
      return count > 3
    end)
    refuses("makes more than 256 comparisons on one way through: the end", function(_, _, _, j)
      while j > 1 do j = j / 2 end
      return j == 1
    end)
  end)

  it("what symbols cannot show: the program would differ", function()
    local text = "cannot be traced: for b, h, i, j = 1, 1, 1, 1 it returns true, with symbols false"
    refuses(text, function(_, _, i) return type(i) == "number" end)
    refuses(text, function(_, _, _, j)
      local list = { true, true }
      return list[j] ~= nil
    end)
    local calls = 0
    refuses("cannot be traced", function(_, _, i)
      calls = calls + 1
      return i > calls % 7
    end)
  end)

  it("tables that hold something else, are empty, or want a gradient", function()
    local names, empty = { "a", "b" }, mosaic.zeros { 0 }
    refuses("looks up 1 = \"a\" by a symbol: a table must hold only numbers 1, 2, ... or only booleans",
      function(_, h) return names[h] == "a" end)
    refuses("looks up an empty table (f32 [0])", function(_, h) return mosaic.lookup(empty, h) > 0 end)
    local learned = mosaic.ones { 4, requires_grad = true }
    refuses("looks up a tensor that requires a gradient (f32 [4]), which would be lost: detach it, or use",
      function(_, h) return mosaic.lookup(learned, h) > 0 end)
    mosaic.no_grad(function() keep(function(_, h) return mosaic.lookup(learned, h) > 0 end) end)
    local matrix = { { 1, 2 }, { 3, 4 } }
    refuses("looks up a table of 2 dims with 1 indices",
      function(_, h) return mosaic.lookup(matrix, h) > 0 end)
    refuses("attempt to compare number with table", function(_, h) return matrix[h] > 0 end)
  end)

  it("symbols that were kept", function()
    local stored
    keep(function(_, _, i)
      stored = stored or i
      return true
    end)
    fails("a function of a mask must not store its arguments", function() return stored + 1 end)
    refuses("a function of a mask must not store its arguments", function(_, _, i) return i < stored end)
  end)
end)
