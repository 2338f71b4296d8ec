local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local files = require "spec.support.files"
local read, write = mosaic.data.read_npy, mosaic.data.write_npy

--- A .npy file of version 1 with this header and data.
local function with_header(header, data, version)
  version = version or 1
  return files.write("\x93NUMPY" .. string.char(version, 0)
    .. files.little_endian(#header, version == 1 and 2 or 4) .. header .. (data or ""), "a.npy")
end

local function header(descr, fortran, shape)
  return ("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n"):format(descr, fortran, shape)
end

local function refused(text, ...)
  local path = with_header(...)
  fails(text, function() read(path) end)
  fails(path, function() read(path) end)
end

--- Bytes 1, 2, ... n.
local function counting(n)
  local bytes = {}
  for i = 1, n do bytes[i] = string.char(i) end
  return table.concat(bytes)
end

describe(".npy", function()
  it("returns what was written: every dtype, scalars, empty and strided tensors", function()
    local path = files.path "round.npy"
    local tensors = { mosaic.tensor(2.5), mosaic.zeros { 0, 3 }, mosaic.arange(1, 6):view(2, 3):t(),
      mosaic.ones { 1, 1, 1, 1, 1, 1, 1, 2 }, mosaic.ones { 3 } }
    for _, dtype in ipairs { "f32", "f64", "f16", "i32", "i64", "u8" } do
      tensors[#tensors + 1] = mosaic.tensor({ { 0, 1, 2 }, { 3, 4, 200 } }, { dtype = dtype })
    end
    for _, t in ipairs(tensors) do
      write(path, t)
      assert.equal(t:describe(), read(path):describe())
      assert.same(t:tolist(), read(path):tolist())
    end
  end)

  it("writes NumPy's own bytes", function()
    local path = files.path()
    write(path, mosaic.tensor({ { 1 }, { 2 } }, { dtype = "u8" }))
    local text = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }"
    assert.equal("\x93NUMPY\1\0\118\0" .. text .. (" "):rep(117 - #text) .. "\n\1\2", files.read(path))
    write(path, mosaic.tensor({ 1 }, { dtype = "u8" }))
    assert.matches("'shape': %(1,%), }", files.read(path))
  end)

  it("reads C and Fortran order, all rows or some", function()
    local data = counting(24)
    for _, fortran in ipairs { "False", "True" } do
      local path = with_header(header("|u1", fortran, "(4, 3, 2)"), data)
      local whole = read(path)
      assert.same({ 4, 3, 2 }, whole.shape)
      for i = 0, 3 do
        for j = 0, 2 do
          for k = 0, 1 do
            local at = fortran == "True" and i + 4 * (j + 3 * k) or k + 2 * (j + 3 * i)
            assert.equal(at + 1, whole:get(i + 1, j + 1, k + 1))
          end
        end
      end
      assert.same(fortran == "True" and { 1, 4, 12 } or { 6, 2, 1 }, whole:stride())
      for first = 1, 5 do
        for last = first - 1, 4 do
          local part = read(path, { rows = { first, last } })
          assert.same(whole:slice(1, first, last):tolist(), part:tolist())
        end
        assert.same(whole:slice(1, first, 4):tolist(), read(path, { rows = { first } }):tolist())
      end
      fails("rows 3..5 of an array of 4", function() read(path, { rows = { 3, 5 } }) end)
      fails("rows 6..4 of an array of 4", function() read(path, { rows = { 6 } }) end)
    end
    local scalar = with_header(header("|u1", "False", "()"), "\5")
    assert.equal(5, read(scalar):item())
    fails("a scalar has no rows", function() read(scalar, { rows = { 1, 1 } }) end)
    fails("read_npy: the first of the rows must be an integer of at least 1, got 0",
      function() read(scalar, { rows = { 0, 1 } }) end)
  end)

  it("takes versions 1 to 3, any order of the entries and either quote", function()
    local text = ' { "shape":( 2 ,1,) ,\t"fortran_order":True,\'descr\':"<i4"}  '
    for version = 1, 3 do
      assert.same({ { 67305985 }, { 134678021 } }, read(with_header(text, counting(8), version)):tolist())
    end
  end)

  it("reads booleans as u8, and nothing but 0 and 1", function()
    assert.same({ 0, 1 }, read(with_header(header("|b1", "False", "(2,)"), "\0\1")):tolist())
    local text = header("|b1", "True", "(2, 2)")
    refused(("byte %d: a truth value is 0 or 1, got 9"):format(10 + #text + 2), text, "\0\1\9\1")
  end)
end)

describe("a malformed .npy file", function()
  local good = header("|u1", "False", "(2,)")

  it("has the right magic, version and header length", function()
    local function raw(text, bytes)
      local path = files.write(bytes)
      fails(text, function() read(path) end)
    end
    raw("not a .npy file", "")
    raw("not a .npy file", "\x93NUMPY\1\0\0")
    raw("not a .npy file", "\x93NUMPX\1\0\2\0{}")
    raw("version 0.0; 1.0, 2.0 and 3.0 are known", "\x93NUMPY\0\0\2\0{}")
    raw("version 4.0", "\x93NUMPY\4\0\2\0{}")
    raw("version 1.1", "\x93NUMPY\1\1\2\0{}")
    raw("a header of 3 bytes in a file of 12", "\x93NUMPY\1\0\3\0{}")
    raw("a header of 4294967295 bytes", "\x93NUMPY\2\0\255\255\255\255{}")
    raw("a header of 65536 bytes", "\x93NUMPY\2\0\0\0\1\0" .. (" "):rep(65536))
    raw("a header of 2 bytes in a file of 10", "\x93NUMPY\3\0\2\0")
  end)

  it("has the one literal that the format allows", function()
    refused("byte 10: expected '{', got '['", "[]")
    refused("expected descr, fortran_order and shape before", "{}")
    refused("expected descr, fortran_order and shape before", "{'shape': (2,)}")
    refused("expected descr, fortran_order and shape, each once", "{'shape': (), 'shape': ()}")
    refused("expected descr, fortran_order and shape, each once", "{'size': ()}")
    refused("expected '\"', got 's'", "{shape: ()}")
    refused("expected the end of a plain string, got the end", "{'shape")
    refused("expected the end of a plain string, got '\\'", "{'sh\\x61pe': ()}")
    refused("expected ':', got '('", "{'shape' ()}")
    refused("expected '}', got '''", "{'shape': () 'descr': '<f4'}")
    refused("expected the end of the header, got 'x'", good:sub(1, -2) .. "x", "\0\0")
    refused("expected True or False, got '1'", "{'fortran_order': 1}")
    refused("expected True or False, got 'T'", "{'fortran_order': Tru")
    refused("expected '(', got '['", "{'shape': [2]}")
    refused("expected ',' after the only size, got ')'", "{'shape': (2)}")
    refused("expected ')', got '3'", "{'shape': (2, 2 3)}")
    refused("expected a natural number, got ','", "{'shape': (,)}")
    refused("expected a natural number, got '-'", "{'shape': (-2,)}")
    refused("expected ',' after the only size, got 'L'", "{'shape': (2L,)}")
    refused("expected at most 8 sizes", "{'shape': (1,1,1,1,1,1,1,1,1)}")
    refused("expected a number below 2^63", "{'shape': (9223372036854775808,)}")
    refused("expected '\"', got '('", "{'descr': ('<f4', (2,))}")
  end)

  it("holds plain little-endian numbers, as many as it says", function()
    for _, descr in ipairs { ">f4", "|O", "<U3", "<c8", "<f44", "f4", "=f4", "" } do
      refused(("dtype '%s' is not one of <f2 <f4 <f8 <i4 <i8 |u1 |b1"):format(descr),
        header(descr, "False", "(2,)"))
    end
    refused("dtype '" .. ("x"):rep(20) .. "' is not", header(("x"):rep(30), "False", "()"))
    refused("the array takes 2 bytes, the file has 1 of data", good, "\0")
    refused("the array takes 2 bytes, the file has 3 of data", good, "\0\0\0")
    refused("a shape of more than 2^63 bytes", header("<f4", "False", "(4611686018427387904, 2)"))
    refused("a shape of more than 2^63 bytes", header("<f4", "False", "(0, 4611686018427387904, 2)"))
    assert.same({ 0, 7 }, read(with_header(header("<f4", "True", "(0, 7)"))).shape)
  end)

  it("cannot be written for what .npy lacks", function()
    fails("npy has no dtype for bf16 [1]: convert it first",
      function() write(files.path(), mosaic.ones { 1, dtype = "bf16" }) end)
    fails("write_npy: expected a tensor, got 3", function() write(files.path(), 3) end)
    fails("/nowhere/a.npy: cannot open: No such file or directory", function() read "/nowhere/a.npy" end)
    fails("/nowhere/a.npy: cannot create it", function() write("/nowhere/a.npy", mosaic.ones { 1 }) end)
  end)
end)
