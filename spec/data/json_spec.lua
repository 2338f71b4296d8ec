local data = require("mosaic").data
local json = data.json
local fails = require "spec.support.fails"
local files = require "spec.support.files"

describe("json.encode", function()
  it("sorts keys, tells lists from objects, and writes the shortest exact numbers", function()
    assert.equal('{"a":[1,2.5,-3],"b":{"x":true,"y":false},"c":"d"}',
      json.encode { c = "d", a = { 1, 2.5, -3 }, b = { y = false, x = true } })
    assert.equal('[{},[],null,"\\"\\\\\\n\\t\\r\\u0000\\u007f"]',
      json.encode { {}, json.list {}, json.null, '"\\\n\t\r\0\127' })
    assert.equal("[0.1,1e+300,0.30000000000000004,9007199254740991,123456789012]",
      json.encode { 0.1, 1e300, 0.1 + 0.2, 2 ^ 53 - 1, 123456789012 })
  end)

  it("refuses what JSON cannot say, naming where it is", function()
    fails("json.encode: the value.a[2] is nan", function() json.encode { a = { 1, 0 / 0 } } end)
    fails("json.encode: the value is inf", function() json.encode(1 / 0) end)
    fails("json.encode: the value.loss is -inf", function() json.encode { loss = -1 / 0 } end)
    fails("json.encode: the value.f is a function", function() json.encode { f = print } end)
    fails("the value has the key 7: keys are strings, or 1..n", function() json.encode { [7] = 1 } end)
    local loop = {}
    loop.x = loop
    fails("more than 100 levels deep, or a cycle", function() json.encode(loop) end)
  end)
end)

describe("json.decode", function()
  it("reads back what encode wrote", function()
    local value = { list = { 1, -2.5e-7, "x\1\"\\/ \xe2\x82\xac" },
      empty = {}, yes = true, no = false, none = json.null }
    local back = json.decode(json.encode(value))
    assert.same(value.list, { unpack(back.list) })
    assert.equal(json.null, back.none)
    assert.equal(json.encode(value), json.encode(back))
    assert.equal("[]", json.encode(json.decode " [ ] "))
  end)

  it("understands escapes and numbers", function()
    assert.equal("A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\b\f/",
      json.decode [["\u0041\u00e9\u20ac\ud83d\ude00\b\f\/"]])
    assert.same({ -0.5, 1e3, 120, 0 }, { unpack(json.decode "[-0.5,1E+3,12e1,0]") })
  end)

  it("is strict, and says where", function()
    local function refused(text, input) fails(text, function() json.decode(input) end) end
    refused("line 1, column 1: expected a value, got the end", "")
    refused("line 2, column 3: expected a value, got \"]\"", "[1,\n  ]")
    refused("line 1, column 4: expected ',' or ']'", "[1 2]")
    refused("line 1, column 9: expected ',' or '}', got \"x\"", '{"a": 1 x')
    refused("line 1, column 2: expected a string, got \"a\"", "{a:1}")
    refused("line 1, column 8: expected a string, got \"}\"", '{"a":1,}')
    refused("expected ':'", '{"a" 1}')
    refused("expected a key other than \"a\", which came before", '{"a":1,"a":2}')
    refused("expected a number without leading zeros", "01")
    refused("expected a number within range", "1e999")
    refused("line 1, column 3: expected the end, got \"2\"", "1 2")
    refused("line 1, column 2: expected the end, got \".\"", "1.")
    refused("expected the rest of a string, got \"\\", '"a\nb"')
    refused("expected the rest of a string, got the end", '"abc')
    refused("expected an escape, got \"x\"", '"\\x"')
    refused("expected four hex digits", '"\\u00g0"')
    refused("expected a surrogate pair", '"\\ud800x"')
    refused("expected a surrogate pair", '"\\udc00\\udc00"')
    refused("expected at most 100 levels", ("["):rep(200))
    refused("expected a value, got \"n\"", "nul")
    refused("json.decode: expected a string, got nil", nil)
  end)
end)

describe("JSON files", function()
  it("keep a value", function()
    local path = files.path "value.json"
    data.write_json(path, { auc = 0.1, names = { "a" } })
    assert.equal('{"auc":0.1,"names":["a"]}\n', files.read(path))
    assert.equal(0.1, data.read_json(path).auc)
  end)

  it("are errors with path, line and column, and stay as they were", function()
    local path = files.write("{\n 1}", "bad.json")
    fails(path .. ": line 2, column 2: expected a string, got \"1\"", function() data.read_json(path) end)
    fails("json.encode: the value is nan", function() data.write_json(path, 0 / 0) end)
    assert.equal("{\n 1}", files.read(path))
    fails("/nowhere/x.json: No such file or directory", function() data.read_json "/nowhere/x.json" end)
    fails("/tmp: cannot be read", function() data.read_json "/tmp" end)
    fails("read_json: a path is expected, got nil", function() data.read_json() end)
  end)
end)
