local ffi = require "ffi"
local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local files = require "spec.support.files"
local data = mosaic.data

pcall(ffi.cdef, "double strtod(const char *, char **);")

local function read(text, options)
  return data.read_csv(files.write(text, "t.csv"), options)
end

--- All cells as text, row by row.
local function cells(t)
  local rows = {}
  for row = 1, t.rows do rows[row] = {} end
  for i, name in ipairs(t.names) do
    for row, text in ipairs(t:text(#t.names == #t.all and i or name)) do rows[row][i] = text end
  end
  return rows
end

describe("read_csv", function()
  it("reads names, numbers and text", function()
    local t = read "x,name,y\n1,a,-2.5\n3e2,b b,.5\n"
    assert.same({ "x", "name", "y" }, t.names)
    assert.equal(2, t.rows)
    assert.same({ true, false, true }, { t:is_numeric "x", t:is_numeric "name", t:is_numeric(3) })
    assert.same({ { 1, -2.5 }, { 300, 0.5 } }, t:numeric({ "x", "y" }):tolist())
    assert.same({ "f64", -2.5, 0.5 }, { t:numeric("y").dtype, unpack(t:numeric("y"):tolist()) })
    assert.equal("f32", t:numeric("y", { dtype = "f32" }).dtype)
    assert.same({ "a", "b b" }, t:text "name")
    assert.same({ "1", "3e2" }, t:text "x")
    assert.same({ 2, 0 }, t:numeric({}).shape)
  end)

  it("understands quotes: delimiters, line ends and doubled quotes inside", function()
    local t = read 'a,"b ""c""",d\n"1,5","two\nlines","say ""hi"""\n"","""",x\r\n"7","8","9"'
    assert.same({ "a", 'b "c"', "d" }, t.names)
    assert.same({ { "1,5", "two\nlines", 'say "hi"' }, { "", '"', "x" }, { "7", "8", "9" } }, cells(t))
    assert.same({ "1,5", "", "7" }, t:text "a")
  end)

  it("takes LF, CRLF, a missing last line end, empty lines and a byte order mark", function()
    local expected = { { "1", "2" }, { "3", "4" } }
    for _, text in ipairs { "a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4\r\n", "a,b\n1,2\n3,4",
      "a,b\r\n1,2\n3,4\r\n\r\n",
      "\n\r\na,b\n\n1,2\n\n\n3,4\n\n", "\xef\xbb\xbfa,b\n1,2\n3,4\n" } do
      local t = read(text)
      assert.same({ "a", "b" }, t.names)
      assert.same(expected, cells(t))
    end
    local bare = read("\xef\xbb\xbf1,2\n3,4\n", { header = false })
    assert.same({ "column_1", "column_2" }, bare.names)
    assert.same(expected, cells(bare))
    assert.same({ { 1, 2 }, { 3, 4 } }, bare:numeric(bare.names):tolist())
  end)

  it("takes other delimiters", function()
    assert.same({ { "1,5", "b" } }, cells(read("x;y\n1,5;b\n", { delimiter = ";" })))
    assert.same({ { 1, 2 } }, read("x\ty\n1\t 2 \n", { delimiter = "\t" }):numeric({ "x", "y" }):tolist())
    for _, bad in ipairs { "1", ".", "-", "+", "e", "Z", '"', "\n", "\r", "\0", "\200" } do
      fails(("byte %d cannot be the delimiter"):format(bad:byte()),
        function() read("a\n", { delimiter = bad }) end)
    end
    fails("read_csv: the delimiter must be one character, got \", \"",
      function() read("a\n", { delimiter = ", " }) end)
  end)

  it("knows missing values: NaN in numbers, their rows by name", function()
    local t = read 'x,s\n1,a\n,NA\nNA,b\n NaN ,?\n"nan",c\nnull,\n?,d\n'
    local x = t:numeric "x":tolist()
    assert.equal(1, x[1])
    for row = 2, 7 do assert(x[row] ~= x[row]) end
    assert.same({ 2, 3, 4, 5, 6, 7 }, t:missing "x")
    assert.same({ 2, 4, 6 }, t:missing "s")
    assert.same({ "a", "NA", "b", "?", "c", "", "d" }, t:text "s")
    local nan = read("x,y\n\tnan,1\n-NaN\t,2\n", { missing = {} }):numeric "x":tolist()
    assert(nan[1] ~= nan[1] and nan[2] ~= nan[2])
    local own = read("x\n-999\n1\nnone\n", { missing = { "-999", "none", "" } }):numeric "x":tolist()
    assert(own[1] ~= own[1] and own[2] == 1 and own[3] ~= own[3])
    assert.is_false(read("x\nNA\n", { missing = {} }):is_numeric "x")
    assert.is_true(read("x,y\n,1\n,2\n"):is_numeric "x")
  end)

  it("parses numbers to the same bits as strtod", function()
    local numbers = {
      "0", "-0", "007", "1.", ".5", "-.5", "+1", "1e5", "1E-5", "1e+05", "0.1", "123456789012345",
      "1234567890123456", "9007199254740993", "9007199254740992.5", "0.30000000000000004",
      "1.7976931348623157e308", "1.7976931348623159e308", "4.9e-324", "2.4703282292062327e-324",
      "2.4703282292062328e-324", "1e400", "1e-400", "0e99999", "1e22", "1e23",
      "123456789012345678901234567890", "0.000000000000000000000000000000000001", "8.5e27", "8.5e-27",
      "18446744073709551615", "9999999999999999999", "1e99999999999", "inf", "-Infinity",
      "7450580596923828125e-27", "9007199254740993e27", ("1"):rep(400), "0." .. ("0"):rep(400) .. "1",
      ("2"):rep(1500) .. "e-1490", "." .. ("3"):rep(1500) .. "e5", "0e5", "-0.0", "7e27", "7e28", "7e-28",
    }
    math.randomseed(5)
    for _ = 1, 3000 do
      local digits = {}
      for i = 1, math.random(20) do digits[i] = math.random(0, 9) end
      local text = table.concat(digits)
      local point = math.random(0, #text)
      text = text:sub(1, point) .. "." .. text:sub(point + 1)
      numbers[#numbers + 1] = math.random() < 0.5 and text or text .. "e" .. math.random(-40, 40)
    end
    -- Each number both before a delimiter and at the end of a line: the two have different paths.
    local lines = {}
    for i, text in ipairs(numbers) do lines[i] = text .. "," .. text end
    local x = read("a,b\n" .. table.concat(lines, "\n") .. "\n"):numeric({ 1, 2 }):flat()
    for i, text in ipairs(numbers) do
      local expected = ffi.C.strtod(text, nil)
      for _, got in ipairs { x[2 * i - 1], x[2 * i] } do
        assert(got == expected and 1 / got == 1 / expected,
          ("%s: got %.17g, expected %.17g"):format(text, got, expected))
      end
    end
  end)

  it("does not take for a number what is none", function()
    for _, text in ipairs { "1.2.3", "--1", "+-1", "1e", "1e+", "e5", ".", "-", "+", "0x10", "1_000", "1 2",
      "1,5", "infinit",
      "nano", "1f", "five", "1-", "- 1" } do
      assert.is_false(read('x\n"' .. text .. '"\n'):is_numeric "x", text)
    end
    local t = read "a,b\n1,2\n\n3,x4\n"
    fails(":4: column 2 (b): 'x4' is not a number", function() t:numeric "b" end)
    fails(":4: column 2 (b): 'x4' is not a number", function() t:numeric { "a", "b" } end)
  end)

  it("chooses columns by name and number, in the order asked for", function()
    local t = read("a,b,c\n1,x,3\n4,y,6\n", { columns = { "c", 1 } })
    assert.same({ "c", "a" }, t.names)
    assert.same({ { 3, 1 }, { 6, 4 } }, t:numeric(t.names):tolist())
    assert.same({ "x", "y" }, t:text "b")
    fails("column 2 is not among those that were read", function() t:is_numeric "b" end)
    fails("column 2 was not parsed", function() t:numeric "b" end)
    fails("has no column \"cc\", did you mean 'c'? (it has: a, b, c)", function() t:text "cc" end)
    fails("column 4 of 3", function() t:numeric(4) end)
    assert.same({ { 1, 1 } }, read "a\n1\n":numeric({ "a", 1 }):tolist())
    assert.same({ { 1 } }, read("a,b\n1,2\n", { columns = { "a", "a" } }):numeric({ 1 }):tolist())
    local name, text = ("n"):rep(120), ("t"):rep(120)
    fails(("column 1 (%s): '%s' is not a number"):format(name:sub(1, 100), text:sub(1, 100)),
      function() read(name .. "\n" .. text .. "\n"):numeric(1) end)
    fails("columns 1 and 2 are both called 'a': use the number", function() read("a,a\n1,2\n"):text "a" end)
    assert.same({ "2" }, read("a,a\n1,2\n"):text(2))
    fails("read_csv: unknown option 'delimeter', did you mean 'delimiter'?",
      function() read("a\n", { delimeter = ";" }) end)
  end)
end)

describe("a range of rows", function()
  --- A table of n rows with quoted line ends, empty lines and CRLF here and there.
  local function awkward(n)
    local lines = { "id,text,x\n" }
    for i = 1, n do
      local text = i % 3 == 0 and '"line\nend, ""' .. i .. '"""' or "w" .. i
      lines[#lines + 1] = ("%d,%s,%g%s"):format(i, text, i / 7, i % 5 == 0 and "\r\n\n" or "\n")
    end
    return table.concat(lines)
  end

  it("equals the same rows of the whole", function()
    for _, header in ipairs { true, false } do
      local text = awkward(23)
      local path = files.write(header and text or text:match "\n(.*)", "rows.csv")
      local whole = cells(data.read_csv(path, { header = header }))
      assert.equal(23, data.count_rows(path, { header = header }))
      for first = 1, 24 do
        for last = first - 1, 23 do
          local part = data.read_csv(path, { header = header, rows = { first, last } })
          assert.same({ unpack(whole, first, last) }, cells(part))
        end
      end
      assert.same({ unpack(whole, 9) }, cells(data.read_csv(path, { header = header, rows = { 9 } })))
    end
  end)

  it("crosses the blocks of the reader", function()
    local path = files.write(awkward(100000), "large.csv")
    assert.equal(100000, data.count_rows(path))
    for _, first in ipairs { 1, 49999, 77776, 99999 } do
      local t = data.read_csv(path, { rows = { first, first + 1 } })
      assert.same({ first, first + 1 }, t:numeric "id":tolist())
      assert.same(first % 3 == 0 and "line\nend, \"" .. first .. '"' or "w" .. first, t:text "text"[1])
    end
    local all = data.read_csv(path):numeric "id"
    for _, i in ipairs { 1, 33333, 65536, 100000 } do assert.equal(i, all:get(i)) end
  end)

  it("is refused beyond the end", function()
    local path = files.write "a\n1\n2\n"
    fails("rows 2..3 were asked for, the file has 2", function() data.read_csv(path, { rows = { 2, 3 } }) end)
    fails("rows 4..3 were asked for, the file has 2", function() data.read_csv(path, { rows = { 4, 3 } }) end)
    fails("rows 4..2 were asked for, the file has 2", function() data.read_csv(path, { rows = { 4 } }) end)
    fails("read_csv: the first of the rows must be an integer of at least 1, got 0",
      function() data.read_csv(path, { rows = { 0, 1 } }) end)
    fails("read_csv: the last of the rows must be an integer of at least 1, got 0.5",
      function() data.read_csv(path, { rows = { 2, 0.5 } }) end)
    fails("read_csv: the rows must be {first, last}, got 3", function() data.read_csv(path, { rows = 3 }) end)
    fails("are out of range", function() data.read_csv(path, { rows = { 2 ^ 62, 2 ^ 62 } }) end)
    assert.equal(0, data.read_csv(path, { rows = { 3, 2 } }).rows)
  end)

  it("is scanned, not parsed, before and behind", function()
    local path = files.write "a,b\n1\n2,3\n4,5,6\n"
    assert.same({ { "2", "3" } }, cells(data.read_csv(path, { rows = { 2, 2 } })))
    fails(":2: 1 cells, but the first row (line 1) has 2",
      function() data.read_csv(path, { rows = { 1, 2 } }) end)
    fails(":4: 3 cells, but the first row (line 1) has 2",
      function() data.read_csv(path, { rows = { 2, 3 } }) end)
  end)
end)

describe("a malformed CSV file", function()
  local function refused(text, content, options)
    local path = files.write(content, "bad.csv")
    fails(path .. text, function() data.read_csv(path, options) end)
  end

  it("is named with line and column", function()
    refused(":3: 1 cells, but the first row (line 1) has 2", "a,b\n1,2\n3\n4,5\n")
    refused(":5: 3 cells, but the first row (line 2) has 2", '\na,b\n"1\n",2\n3,4,5\n')
    refused(":2: column 2: a quote inside a cell that is not quoted", 'a,b\n1,5" pipe\n2,3\n')
    refused(":3: column 1: text after the closing quote", 'a,b\n1,2\n"x"y,3\n')
    refused(":3: column 2: text after the closing quote", 'a,b\n1,2\n3,"x""" \n')
    refused(":4: column 2: its quote is never closed", 'a,b\n"1\n2",3\n4,"x\n5,6\n')
    refused(":2: column 1: a carriage return without a line feed", "a,b\n1\r,2\n")
    refused(":2: column 2: a carriage return without a line feed", 'a,b\n1,"2"\r')
    refused(":1: column 2: a quote inside a cell that is not quoted", 'a,b"c\n1,2\n')
    refused(":1: column 1: its quote is never closed", '"a,b\n1,2\n')
    refused(":3: a NUL byte: this is not a text file in UTF-8 or ASCII", "a,b\n1,2\n3\0,4\n")
    refused(":1: a NUL byte", "\xff\xfea\0,\0b\0")
    refused(": the file has no rows", "")
    refused(":1: column 2: a quote inside a cell that is not quoted", 'a,b"c"\n')
    refused(":1: column 1: a carriage return without a line feed", "a\rb\n", { rows = { 1, 0 } })
    refused(": the file has no rows", "\n\r\n\n")
    refused(":2: a quote in this row is never closed", 'a\n"1\n2\n', { rows = { 2, 2 } })
    fails("a quote in this row is never closed", function() data.count_rows(files.write 'a\n1\n"2\n') end)
    refused(":2: 1 cells, but the first row (line 1) has 2000", ("a,"):rep(1999) .. "\n" .. ("1\n"):rep(500))
  end)

  it("is an I/O error with its reason", function()
    fails("/nowhere/x.csv: cannot open: No such file or directory",
      function() data.read_csv "/nowhere/x.csv" end)
    fails("/tmp: cannot read: Is a directory", function() data.read_csv "/tmp" end)
    fails("/tmp: cannot read: Is a directory", function() data.count_rows "/tmp" end)
    fails("read_csv: a path is expected, got nil", function() data.read_csv() end)
  end)

  it("cannot be asked for cells at the C border", function()
    local C, handle = require "mosaic.ffi", ffi.new "mosaic_csv *[1]"
    local options = ffi.new("mosaic_csv_options", { delimiter = 44, header = true, rows = -1 })
    assert.equal(0, tonumber(C.mosaic_csv_open(handle, files.write "a,b\n1,2\n3\n", options)))
    local text, missing = ffi.new "mosaic_text[1]", ffi.new "bool[1]"
    assert.not_equal(0, tonumber(C.mosaic_csv_parse(handle[0], ffi.new("int64_t[1]", 0), 1)))
    assert.not_equal(0, tonumber(C.mosaic_csv_cell(text, missing, handle[0], 1, 1)))
    assert.not_equal(0, tonumber(C.mosaic_csv_parse(handle[0], ffi.new("int64_t[1]", 2), 1)))
    assert.is_false(C.mosaic_csv_is_numeric(handle[0], 0))
    assert.is_false(C.mosaic_csv_is_numeric(handle[0], 9))
    assert.equal(0, tonumber(C.mosaic_csv_name(handle[0], -1).bytes))
    C.mosaic_csv_release(handle[0])
    C.mosaic_csv_release(nil)
  end)
end)

describe("write_csv", function()
  it("writes what read_csv reads back, to the bit", function()
    local path = files.path "out.csv"
    local numbers = { 0.1, -1e300, 2 ^ 53, 5e-324, 1 / 3 }
    local text = { "plain", 'a "quoted", word', " spaced ", "two\r\nlines", "" }
    local single = mosaic.tensor({ 0.1, 1 / 3, 1e-10, 16777217, -0.5 }, { dtype = "f32" })
    data.write_csv(path, { "n", "te,xt", "s", "i" },
      { numbers, text, single, mosaic.arange(1, 5) })
    local t = data.read_csv(path)
    assert.same({ "n", "te,xt", "s", "i" }, t.names)
    assert.same(numbers, t:numeric "n":tolist())
    assert.same(text, t:text "te,xt")
    assert.same(single:tolist(), t:numeric("s", { dtype = "f32" }):tolist())
    assert.same({ "1", "2", "3", "4", "5" }, t:text "i")
    assert.equal("0.1", t:text "s"[1])
  end)

  it("writes exactly this", function()
    local path = files.path "exact.csv"
    data.write_csv(path, { "a", "b" }, { { 1, 2.5, 0 / 0 }, { "x", 'y"', "a;b" } }, { delimiter = ";" })
    assert.equal('a;b\n1;x\n2.5;"y"""\n;"a;b"\n', files.read(path))
    data.write_csv(path, { "only" }, { { "", 0 / 0, 3 } })
    assert.equal('only\n""\n""\n3\n', files.read(path))
    assert.same({ 1, 2 }, data.read_csv(path):missing "only")
  end)

  it("refuses what is not a table, and leaves the old file", function()
    local path = files.write("old", "old.csv")
    fails("write_csv: 1 names for 2 columns", function() data.write_csv(path, { "a" }, { {}, {} }) end)
    fails("write_csv: 0 names for 0 columns", function() data.write_csv(path, {}, {}) end)
    fails("write_csv: column 'b' has 1 rows, column 'a' 2",
      function() data.write_csv(path, { "a", "b" }, { { 1, 2 }, { 1 } }) end)
    fails("write_csv: row 2 of column 'a' must be a string or a number, got true",
      function() data.write_csv(path, { "a" }, { { 1, true } }) end)
    fails("write_csv: column 'a' must have one dimension, got f32 [2,2]",
      function() data.write_csv(path, { "a" }, { mosaic.ones { 2, 2 } }) end)
    fails("write_csv: column 'a' must be a list or a tensor, got 3",
      function() data.write_csv(path, { "a" }, { 3 }) end)
    fails("write_csv: the delimiter must be one character",
      function() data.write_csv(path, {}, {}, { delimiter = "" }) end)
    assert.equal("old", files.read(path))
    assert.equal(1, #files.list "old.csv")
  end)

  it("writes many rows", function()
    local path, n = files.path "many.csv", 2503
    data.write_csv(path, { "i" }, { mosaic.arange(1, n) })
    assert.same({ n }, data.read_csv(path, { rows = { n, n } }):numeric "i":tolist())
    assert.equal(n, data.count_rows(path))
  end)
end)
