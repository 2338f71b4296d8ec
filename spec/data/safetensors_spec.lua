local ffi = require "ffi"
local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local files = require "spec.support.files"

--- A file with this header and `data_bytes` zero bytes (or these bytes) of data.
local function with_header(header, data)
  data = type(data) == "string" and data or ("\0"):rep(data or 0)
  return files.write(files.little_endian(#header, 8) .. header .. data, "m.safetensors")
end

local function item(name, dtype, shape, from, to)
  return ('"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%s,%s]}'):format(name, dtype, shape, from, to)
end

--- Loading the file must fail with the text.
local function refused(text, header, data)
  local path = with_header(header, data)
  fails(text, function() mosaic.load(path) end)
  fails(path, function() mosaic.load(path) end)
end

describe("safetensors", function()
  it("returns what was saved: every dtype, scalars, empty tensors, strided views", function()
    local path = files.path "all.safetensors"
    local saved = {
      scalar = mosaic.tensor(2.5), empty = mosaic.zeros { 0, 3 },
      transposed = mosaic.arange(1, 6):view(2, 3):t(), stepped = mosaic.arange(1, 9):slice(1, 2, 9, 3),
      ["quo\"te \\ \n \1 \xe2\x82\xac"] = mosaic.ones { 2, dtype = "f64" },
    }
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" } do
      saved[dtype] = mosaic.tensor({ { 0, 1, 2 }, { 3, 4, 200 } }, { dtype = dtype })
    end
    mosaic.save(path, saved, { note = "two\nlines \"quoted\"", [""] = "" })
    local loaded, metadata = mosaic.load(path)
    for name, t in pairs(saved) do
      assert.equal(t:describe(), loaded[name]:describe())
      assert.same(t:tolist(), loaded[name]:tolist())
      saved[name] = nil
      loaded[name] = nil
    end
    assert.is_nil(next(loaded))
    assert.same({ note = "two\nlines \"quoted\"", [""] = "" }, metadata)
  end)

  it("keeps the bits of NaN, infinities, -0 and subnormals", function()
    local path = files.path()
    mosaic.save(path, { x = mosaic.tensor({ 0 / 0, 1 / 0, -1 / 0, -0.0, 5e-324 }, { dtype = "f64" }) })
    local x = mosaic.load(path).x:flat()
    assert(x[1] ~= x[1])
    assert.same({ 1 / 0, -1 / 0, 5e-324 }, { x[2], x[3], x[5] })
    assert.equal(-1 / 0, 1 / x[4])
  end)

  --- LuaJIT would take such a double for a value of another type: a pointer that the file chooses.
  it("reads any NaN as a number", function()
    local header = "{" .. item("x", "F64", "1", 0, 8) .. "," .. item("y", "BF16", "1", 8, 10) .. "}"
    for name, x in pairs(mosaic.load(with_header(header, "AAAA\1\0\253\255\255\255"))) do
      for _, value in ipairs { x:item(), x:flat()[1] or "nil", x:get(1), x:tolist()[1] or "nil" } do
        assert.equal("number", type(value), name)
        assert.is_true(value ~= value, name)
      end
    end
  end)

  it("writes the same bytes for the same content: aligned, large elements first, then by name", function()
    local one, two = files.path(), files.path()
    local content = { b = mosaic.ones { 1 }, a = mosaic.ones { 1 }, wide = mosaic.ones { 1, dtype = "f64" },
      narrow = mosaic.ones { 3, dtype = "u8" } }
    mosaic.save(one, content, { z = "1", y = "2" })
    mosaic.save(two, content, { z = "1", y = "2" })
    local bytes = files.read(one)
    assert.equal(bytes, files.read(two))
    local length = bytes:byte(1) + 256 * bytes:byte(2)
    assert.equal(0, length % 8)
    local header = '{"__metadata__":{"y":"2","z":"1"},' .. table.concat({
      item("wide", "F64", "1", 0, 8), item("a", "F32", "1", 8, 12), item("b", "F32", "1", 12, 16),
      item("narrow", "U8", "3", 16, 19) }, ",") .. "}"
    assert.equal(header, (bytes:sub(9, 8 + length):gsub(" +$", "")))
    assert.equal(8 + length + 19, #bytes)
  end)

  it("reads only the names and rows that are asked for", function()
    local path = files.path()
    local x = mosaic.arange(1, 24):view(6, 2, 2)
    mosaic.save(path, { x = x, y = mosaic.ones { 2 }, z = mosaic.zeros { 3, 0 } })
    local part = mosaic.load(path, { names = { "x", "z" }, rows = { x = { 3, 5 }, z = { 2, 3 } } })
    assert.same(x:slice(1, 3, 5):tolist(), part.x:tolist())
    assert.same({ 2, 0 }, part.z.shape)
    assert.is_nil(part.y)
    assert.same({ 0, 2, 2 }, mosaic.load(path, { rows = { x = { 7, 6 } } }).x.shape)
    fails("rows 5..7 of tensor 'x', which has 6",
      function() mosaic.load(path, { rows = { x = { 5, 7 } } }) end)
    fails("load: the first of the rows of 'x' must be an integer of at least 1, got 0",
      function() mosaic.load(path, { rows = { x = { 0, 2 } } }) end)
    fails("has no tensor \"xx\", did you mean 'x'?", function() mosaic.load(path, { names = { "xx" } }) end)
    fails("has no tensor \"w\"", function() mosaic.load(path, { rows = { w = { 1, 2 } } }) end)
    fails("load: unknown option 'name', did you mean 'names'?",
      function() mosaic.load(path, { name = "x" }) end)
  end)

  it("says what a file holds without reading its data", function()
    local path = with_header("{" .. item("x", "I16", "2,3", 0, 12) .. ',"__metadata__":{"a":"b"}}', 12)
    local list, metadata = mosaic.data.inspect(path)
    assert.same({ { name = "x", dtype = "I16", shape = { 2, 3 } } }, list)
    assert.same({ a = "b" }, metadata)
    fails("tensor 'x' is of dtype I16, which Mosaic lacks", function() mosaic.load(path) end)
  end)

  it("reads BOOL as u8, and nothing but 0 and 1", function()
    local header = "{" .. item("x", "BOOL", "3", 0, 3) .. "}"
    local x = mosaic.load(with_header(header, "\0\1\1")).x
    assert.same({ "u8", 0, 1, 1 }, { x.dtype, unpack(x:flat()) })
    local path = with_header(header, "\0\1\7")
    fails(("byte %d: a truth value is 0 or 1, got 7"):format(8 + #header + 2),
      function() mosaic.load(path) end)
  end)

  it("takes a header in any order, with white space and escapes", function()
    local header = ' {\n"\\u0041\\ud83d\\ude00\\/\\n" : { "data_offsets" : [ 4 , 8 ] , "shape":[1],'
      .. '"dtype":"F32"} ,' .. item("b", "F32", "", 0, 4) .. "}\t\r\n "
    local loaded = mosaic.load(with_header(header, "\0\0\0\64\0\0\128\63"))
    assert.equal(1, loaded["A\xf0\x9f\x98\x80/\n"]:item())
    assert.equal(2, loaded.b:item())
  end)

  it("decodes every escape of a name", function()
    local header = "{" .. item("\\u0009\\u00E9\\u20ac\\uD800\\udFfF\\b\\f\\r\\t", "F32", "", 0, 4) .. "}"
    local name = "\t\xc3\xa9\xe2\x82\xac\xf0\x90\x8f\xbf\b\f\r\t"
    assert.equal(0, mosaic.load(with_header(header, 4))[name]:item())
  end)

  it("lets tensors without elements share an offset at a border", function()
    local header = "{" .. table.concat({ item("a", "F32", "1", 0, 4), item("e", "F32", "0,7", 4, 4),
      item("f", "U8", "0", 4, 4), item("b", "F32", "1", 4, 8), item("g", "U8", "0", 8, 8) }, ",") .. "}"
    assert.same({ 0, 7 }, mosaic.load(with_header(header, 8)).e.shape)
    refused("tensor 'a' begins at byte 0 of the data, where 2 was expected: a gap or an overlap",
      "{" .. item("a", "F32", "1", 0, 4) .. "," .. item("e", "U8", "2", 0, 2) .. "}", 4)
    refused("begins at byte 2 of the data, where 4 was expected",
      "{" .. item("a", "F32", "1", 0, 4) .. "," .. item("e", "U8", "0", 2, 2) .. "}", 4)
  end)
end)

describe("a malformed safetensors file", function()
  local a = item("a", "F32", "1", 0, 4)

  it("has a header length that fits the file and the limit", function()
    local function raw(text, bytes)
      local path = files.write(bytes)
      fails(text, function() mosaic.load(path) end)
    end
    raw("0 bytes are too few for a safetensors file", "")
    raw("7 bytes are too few", "1234567")
    raw("a header of 100000001 bytes; at most 100000000 are allowed",
      files.little_endian(100000001, 8) .. "{}")
    raw("a header of 18446744073709551615 bytes", ("\255"):rep(8))
    raw("a header of 9223372036854775808 bytes", ("\0"):rep(7) .. "\128")
    raw("a header of 3 bytes in a file of 10", files.little_endian(3, 8) .. "{}")
    refused("byte 8: expected '{', got the end of the header", "")
  end)

  it("is UTF-8 throughout", function()
    for _, bad in ipairs { "\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82" } do
      refused("byte 10: not UTF-8", '{"' .. bad .. '":1}')
    end
    refused("byte 10: not UTF-8", '{"\xe2\x82')
    refused("expected a string, got byte 0x7f", "{\127")
    local good = item("\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "F32", "", 0, 4)
    assert(mosaic.load(with_header("{" .. good .. "}", 4)))
  end)

  it("is strict JSON of the known shape", function()
    refused("byte 8: expected '{', got '['", "[]")
    refused("byte 10: expected the end of the header, got 'x'", "{}x")
    refused("byte 9: expected a string, got 'a'", "{a}")
    refused("expected ',' or '}', got '\"'", "{" .. a .. '"b":1}', 4)
    refused("expected a string, got '}'", "{" .. a .. ",}", 4)
    refused("expected ',' or '}', got the end of the header", "{" .. a, 4)
    refused("byte 13: expected '{', got '7'", '{"a":7}')
    refused("expected '{', got '['", '{"a":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}')
    refused("expected ':', got '}'", '{"a"}')
    refused("expected a string, got '{'", '{"__metadata__":{"a":{}}}')
    refused("expected a string, got '1'", '{"__metadata__":{"a":1}}')
    refused("expected the rest of a string, got byte 0x0a", '{"a\nb":1}')
    refused("expected the rest of a string, got the end of the header", '{"a')
    refused("expected an escape, got 'x'", '{"\\x"')
    refused("expected an escape, got the end of the header", '{"\\')
    refused("expected a hex digit, got 'g'", '{"\\u00g0"')
    refused("expected a hex digit, got '`'", '{"\\u00`0"')
    refused("expected a surrogate pair, got '\"'", '{"\\ud800"')
    refused("expected a surrogate pair, got '\\'", '{"\\ud800\\')
    refused("expected a surrogate pair, got byte 0x20", '{"\\ud800 "')
    refused("expected a surrogate pair, got '\\'", '{"\\udc00\\udc00"')
    refused("expected a surrogate pair", '{"\\ud800\\n"')
    refused("expected a low surrogate", '{"\\ud800\\u0041"')
    refused("expected a low surrogate", '{"\\ud800\\ue041"')
    refused("expected a hex digit", '{"\\ud800\\u"')
  end)

  it("gives each tensor dtype, shape and data_offsets, each once", function()
    refused("expected dtype, shape and data_offsets before", '{"a":{}}')
    refused("expected dtype, shape and data_offsets before", '{"a":{"dtype":"F32","shape":[]}}')
    refused("expected dtype, shape and data_offsets, each once", '{"a":{"dtype":"F32","dtype":"F32"}}')
    refused("expected dtype, shape and data_offsets, each once", '{"a":{"extra":"F32"}}')
    refused("unknown dtype 'F31' of tensor 'a'", "{" .. item("a", "F31", "1", 0, 4) .. "}", 4)
    refused("unknown dtype '' of tensor 'a'", "{" .. item("a", "", "1", 0, 4) .. "}", 4)
    refused("expected a string, got '3'", '{"a":{"dtype":3')
    refused("expected '[', got '4'", '{"a":{"shape":4')
    refused("expected at most 8 sizes in a shape",
      "{" .. item("a", "F32", "1,1,1,1,1,1,1,1,1", 0, 4) .. "}", 4)
    refused("expected ',', got ']'", '{"a":{"data_offsets":[1]')
    refused("expected ']', got ','", '{"a":{"data_offsets":[1,2,3]')
    refused("expected '[', got '{'", '{"a":{"data_offsets":{')
  end)

  it("has natural numbers below 2^63", function()
    for _, bad in ipairs { "-1", "1.0", "1e2", "01", "", "x", "1E2", "null" } do
      refused("expected a natural number", "{" .. item("a", "F32", "1," .. bad, 0, 4) .. "}", 4)
    end
    refused("expected a number below 2^63", "{" .. item("a", "F32", "9223372036854775808", 0, 4) .. "}", 4)
    refused("expected a number below 2^63", "{" .. item("a", "F32", "1", 0, ("9"):rep(30)) .. "}", 4)
    refused("expected a natural number", "{" .. item("a", "F32", "1", "-4", 0) .. "}", 4)
    refused("expected a natural number", "{" .. item("a", "F32", "1", "4", "x") .. "}", 4)
  end)

  it("has shapes whose bytes can be counted and equal the offsets", function()
    refused("tensor 'a' has a shape of more than 2^63 bytes",
      "{" .. item("a", "F32", "4611686018427387904,2", 0, 0) .. "}")
    refused("tensor 'a' has a shape of more than 2^63 bytes",
      "{" .. item("a", "U8", "0,9223372036854775807,2", 0, 0) .. "}")
    refused("tensor 'a' has 4 bytes by its shape, but data_offsets [0,8]",
      "{" .. item("a", "F32", "1", 0, 8) .. "}", 8)
    refused("tensor 'a' has 4 bytes by its shape, but data_offsets [4,0]",
      "{" .. item("a", "F32", "1", 4, 0) .. "}", 4)
    refused("tensor 'a' has 0 bytes by its shape, but data_offsets [0,4]",
      "{" .. item("a", "F32", "0", 0, 4) .. "}", 4)
  end)

  it("covers its data exactly", function()
    local b = item("b", "F32", "1", 4, 8)
    assert(mosaic.load(with_header("{" .. b .. "," .. a .. "}", 8)))
    refused("tensor 'b' begins at byte 4 of the data, where 0 was expected: a gap", "{" .. b .. "}", 8)
    refused("begins at byte 2 of the data, where 4 was expected",
      "{" .. a .. "," .. item("b", "F32", "1", 2, 6) .. "}", 6)
    refused("begins at byte 0 of the data, where 4 was expected",
      "{" .. a .. "," .. item("b", "F32", "1", 0, 4) .. "}", 4)
    refused("the tensors take 4 bytes, the file has 5 of data", "{" .. a .. "}", 5)
    refused("the tensors take 4 bytes, the file has 3 of data", "{" .. a .. "}", 3)
    refused("the tensors take 0 bytes, the file has 1 of data", "{}", 1)
  end)

  it("names each tensor and each metadata key once", function()
    local long = ("n"):rep(300)
    refused("tensor '" .. long:sub(1, 200) .. "' appears twice",
      "{" .. item(long, "F32", "", 0, 4) .. "," .. item(long, "F32", "", 4, 8) .. "}", 8)
    refused("tensor 'a' appears twice", "{" .. a .. "," .. item("\\u0061", "F32", "1", 4, 8) .. "}", 8)
    refused("metadata key 'k' appears twice", '{"__metadata__":{"k":"1","j":"2","k":"1"}}')
    refused("expected __metadata__ only once", '{"__metadata__":{},"__metadata__":{}}')
  end)
end)

describe("replacing a file", function()
  it("leaves the old content when saving fails, and no temporary file", function()
    local path = files.path "kept.safetensors"
    mosaic.save(path, { x = mosaic.ones { 3 } })
    local bad = setmetatable({ c = mosaic.Tensor.blank() }, mosaic.Tensor)
    fails("save: an operand is not a tensor", function() mosaic.save(path, { x = bad }) end)
    assert.same({ 1, 1, 1 }, mosaic.load(path).x:flat())
    assert.equal(1, #files.list "kept.safetensors")
  end)

  it("refuses what it cannot replace", function()
    local tensors = { x = mosaic.ones { 1 } }
    fails("/dev/null: cannot replace it: not a regular file",
      function() mosaic.save("/dev/null", tensors) end)
    fails("/tmp: cannot replace it: not a regular file", function() mosaic.save("/tmp", tensors) end)
    fails("/nowhere/x: cannot create it: No such file or directory",
      function() mosaic.save("/nowhere/x", tensors) end)
    fails("save: a path is expected, got nil", function() mosaic.save(nil, tensors) end)
  end)

  it("refuses names and metadata that the format cannot hold", function()
    local path, one = files.path(), mosaic.ones { 1 }
    fails("save: tensors[\"x\"] must be a tensor under a string key, got 3",
      function() mosaic.save(path, { x = 3 }) end)
    fails("save: tensors[1] must be a tensor under a string key", function() mosaic.save(path, { one }) end)
    fails("save: metadata[\"x\"] must be a string under a string key, got 3",
      function() mosaic.save(path, { a = one }, { x = 3 }) end)
    fails("a tensor cannot be called __metadata__", function() mosaic.save(path, { __metadata__ = one }) end)
    fails("byte 2 of a name or metadata is not UTF-8", function() mosaic.save(path, { ["a\xff"] = one }) end)
    fails("byte 1 of a name or metadata is not UTF-8", function() mosaic.save(path, {}, { a = "\xff" }) end)
  end)

  it("treats a name with slashes and dots as a name", function()
    local path = files.path()
    mosaic.save(path, { ["../../etc/passwd"] = mosaic.ones { 1 } })
    assert.equal(1, mosaic.load(path)["../../etc/passwd"]:item())
  end)

  it("refuses to read what is not a regular file", function()
    fails("/tmp: not a regular file", function() mosaic.load "/tmp" end)
    fails("/dev/zero: not a regular file", function() mosaic.load "/dev/zero" end)
    local link = files.symlink("/nowhere", "dangling")
    fails(link .. ": cannot open: No such file or directory", function() mosaic.load(link) end)
  end)

  it("checks indices and outputs at the C border", function()
    local C, handle = require "mosaic.ffi", ffi.new "mosaic_safetensors *[1]"
    local path = with_header("{" .. item("a", "F32", "", 0, 4) .. "}", 4)
    assert.equal(0, tonumber(C.mosaic_safetensors_open(handle, path)))
    local out = mosaic.ones { 1 }
    assert.not_equal(0, tonumber(C.mosaic_safetensors_read(out.c, handle[0], 0, 0, -1)))
    assert.not_equal(0, tonumber(C.mosaic_safetensors_read(out.c, handle[0], 1, 0, -1)))
    assert.not_equal(0, tonumber(C.mosaic_safetensors_read(mosaic.Tensor.blank(), handle[0], 0, 0, 1)))
    assert.matches("tensor 'a' is a scalar and has no rows", ffi.string(C.mosaic_last_error()))
    C.mosaic_safetensors_release(handle[0])
    C.mosaic_safetensors_release(nil)
  end)
end)
