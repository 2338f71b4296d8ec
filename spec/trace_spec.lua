local mosaic = require "mosaic"
local device = require "spec.support.device"
local fails = require "spec.support.fails"
local program = require "spec.support.program"

--- What a trace file holds: { [rank] = { rows = { [number] = name }, events = list } }.
local function read(path)
  local whole = mosaic.data.read_json(path)
  local ranks = {}
  for _, e in ipairs(whole.traceEvents) do
    local rank = ranks[e.pid] or { rows = {}, events = {} }
    ranks[e.pid] = rank
    if e.ph == "M" and e.name == "thread_name" then rank.rows[e.tid] = e.args.name end
    if e.ph == "X" then rank.events[#rank.events + 1] = e end
  end
  os.remove(path)
  return ranks
end

--- Events of a rank with this name, on a row whose name begins so; at least one.
local function find(rank, name, row)
  local list = {}
  for _, e in ipairs(rank.events) do
    if e.name == name and rank.rows[e.tid]:find(row, 1, true) == 1 then list[#list + 1] = e end
  end
  assert.is_true(#list > 0, ("no %s on row %s"):format(name, row))
  return list
end

--- The same where the host did it, or asked a device for it.
local function find_asked(rank, name)
  return find(rank, name, mosaic.default_device() == "cpu" and "cpu" or "host")
end

local DIGITS = 0.002 -- times are printed with three decimals

--- Spans of the host are one inside the other or one after the other; elsewhere there is one at a time.
local function check_row(row, open, e)
  while open[1] and open[#open].ts + open[#open].dur <= e.ts + DIGITS do open[#open] = nil end
  assert.is_true(#open == 0 or row == "host", row .. ": " .. e.name)
  for _, outer in ipairs(open) do
    assert.is_true(e.ts + e.dur <= outer.ts + outer.dur + DIGITS, e.name .. " leaves " .. outer.name)
  end
  open[#open + 1] = e
end

--- What every trace must be: events on named rows, in time.
local function check_sound(rank)
  local open = {}
  assert.equal("host", rank.rows[1])
  for _, e in ipairs(rank.events) do
    assert.truthy(rank.rows[e.tid])
    assert.is_true(e.ts >= 0 and e.dur >= 0, e.name)
    assert.is_nil(e.args.unfinished)
    open[e.tid] = open[e.tid] or {}
    check_row(rank.rows[e.tid], open[e.tid], e)
  end
end

local function overlap(a, b) return a.ts < b.ts + b.dur and b.ts < a.ts + a.dur end

--- Attention by a strategy that gets the next keys while these are used.
local ATTEND = [[
  local mosaic = require "mosaic"
  mosaic.manual_seed(1)
  local q = mosaic.randn { 1, 2, 300, 16 }
  mosaic.trace.span("forward", function() return mosaic.attend(q, q, q, { strategy = arg[1] }) end)
]]

local function check_hidden(rank, queries)
  check_sound(rank)
  local forward, asked = find(rank, "forward", "host")[1], find_asked(rank, "attention")
  local family = mosaic.default_device():match "^%a+" -- each rank has its own GPU where there are several
  local kernels, messages = find(rank, "attention", family), find(rank, "sendrecv", "communication")
  assert.equal(("f32 [1,1,2,%d,16]"):format(queries), kernels[#kernels].args.what)
  assert.is_true(overlap(forward, asked[1]))
  local first
  for _, message in ipairs(messages) do
    local arrives = message.args.what:find "^sendrecv f32 %[9600%] tag %d+ from rank %d$"
    first = first or arrives and message
  end
  assert.is_true(first.ts <= kernels[1].ts, "the next block is not on its way yet")
  assert.is_true(find(rank, "wait for sendrecv", "host")[1].ts >= asked[1].ts, "it was waited for before")
  if not device.emulated then -- which does one thing at a time
    assert.is_true(overlap(first, kernels[1]), "the next block does not come while this one is used")
  end
end

describe("a trace", function()
  local path = os.tmpname()
  after_each(function() os.remove(path) end)

  it("has a row for each stream of the work, on one rank", function()
    local result = mosaic.trace(path, function(x)
      local y = mosaic.trace.span("twice \"two\"", function() return x + x end)
      return y:matmul(y):sum():item()
    end, mosaic.ones { 4, 4 })
    assert.equal(256, result)
    local rank = read(path)[0]
    check_sound(rank)
    local row = mosaic.default_device()
    local add = find(rank, "add", row)[1]
    assert.is_true(overlap(find(rank, "twice \"two\"", "host")[1], find_asked(rank, "add")[1]))
    assert.equal("f32 [4,4]", add.args.what)
    local product = find(rank, "matmul", row)[1]
    assert.is_true(product.ts >= add.ts + add.dur)
    find(rank, "sum", row)
  end)

  it("takes any name", function()
    local long = "x" .. ("\195\164\226\130\172"):rep(20)
    mosaic.trace(path, function()
      mosaic.trace.span(long, function() mosaic.trace.span("\n\"", function() end) end)
      mosaic.trace.span("a\255b\237\160\128c", function() end)
    end)
    local rank = read(path)[0]
    find(rank, long:sub(1, 61), "host")
    find(rank, "\n\"", "host")
    local unknown = "\239\191\189"
    find(rank, "a" .. unknown .. "b" .. unknown:rep(3) .. "c", "host")
  end)

  it("is only made where somebody asked for it", function()
    local before = mosaic.ones { 2 } + 1
    assert.equal(4, mosaic.trace.span("nobody", function() return before:sum():item() end))
    mosaic.trace(path, function() return mosaic.ones { 3 } end)
    for _, e in ipairs(read(path)[0].events) do assert.not_equal("nobody", e.name) end
  end)

  it("has what happened since it began, inside another one, too", function()
    local inner = os.tmpname()
    mosaic.trace(path, function(x)
      local y = x + 1
      mosaic.trace(inner, function() return y * 2 end)
    end, mosaic.ones { 2 })
    local whole, part = read(path)[0], read(inner)[0]
    check_sound(whole)
    check_sound(part)
    find(whole, "add", mosaic.default_device())
    for _, rank in ipairs { whole, part } do find(rank, "mul", mosaic.default_device()) end
    for _, e in ipairs(part.events) do assert.not_equal("add", e.name) end
  end)

  it("does not make the host wait for the device, however long it lasts", function()
    device.emulated_only "its work waits until somebody wants it"
    mosaic.trace(path, function()
      local x = mosaic.ones { 4 } + 1
      os.execute "sleep 1.1" -- the moment that others are told from is long ago
      return mosaic.trace.span("late", function() return x * 2 end)
    end)
    local rank = read(path)[0]
    local add, late = find(rank, "add", "cuda")[1], find(rank, "late", "host")[1]
    assert.is_true(add.ts >= late.ts + late.dur)
  end)

  it("shows the messages of virtual ranks beside the work of each", function()
    mosaic.virtual(2, function(comm)
      mosaic.trace(path, function()
        local x = mosaic.full({ 5 }, comm.rank)
        local request = comm:all_reduce(x, { async = true })
        local y = x * 2
        assert.equal(1, request:wait():get(1))
        return y
      end)
    end)
    local ranks = read(path)
    for r = 0, 1 do
      check_sound(ranks[r])
      local message = find(ranks[r], "all_reduce", "communication")[1]
      assert.equal("all_reduce f32 [5] sum", message.args.what:match "^(.-) #")
      assert.is_true(overlap(message, find(ranks[r], "mul", mosaic.default_device())[1]))
      find(ranks[r], "wait for " .. message.name, "host")
    end
    assert.is_nil(ranks[2])
  end)

  it("passes errors on, and refuses what it cannot write", function()
    fails("oh", function() mosaic.trace(path, function() error "oh" end) end)
    local nowhere = "/no/such/folder/x.json"
    fails("trace: cannot write " .. nowhere, function() mosaic.trace(nowhere, print) end)
    fails("trace: the body must be a function, got nil", function() mosaic.trace(path) end)
    fails("trace.span: the name must be a string, got 3", function() mosaic.trace.span(3, print) end)
    mosaic.trace(path, function() end) -- it ended before
    read(path)
  end)
end)

describe("mosaic-lua --trace", function()
  local path, script = os.tmpname(), program.script(ATTEND)
  teardown(function()
    os.remove(path)
    os.remove(script)
  end)

  for ranks, case in pairs {
    ["-n 2"] = { "ring", 300 }, ["--virtual 2"] = { "ring", 300 }, ["--virtual 4"] = { "mesh2d", 600 },
  } do
    local strategy, queries = unpack(case)
    it(("writes one file of all ranks: %s with %s"):format(strategy, ranks), function()
      local result = program(("%s --trace %s %s %s"):format(ranks, path, script, strategy))
      assert.same({ "", 0 }, { result.out, result.status }, result.err)
      local found = read(path)
      for r = 0, ranks:match "%d" - 1 do check_hidden(found[r], queries) end
      local a, b = find(found[0], "forward", "host")[1], find(found[1], "forward", "host")[1]
      assert.is_true(overlap(a, b), "clocks do not fit together")
    end)
  end

  it("is MOSAIC_TRACE, too", function()
    local result = program("-e 'return mosaic.ones{2} + 1'", { env = "MOSAIC_TRACE=" .. path })
    assert.equal(0, result.status)
    find(read(path)[0], "add", mosaic.default_device())
  end)

  it("has what all ranks of a job did until it failed", function()
    local code = [[local w, x = mosaic.comm.world(), mosaic.ones{2} + 1
      if w.rank == 1 then error "oh" end
      w:barrier()]]
    for _, ranks in ipairs { "-n 2", "--virtual 2" } do
      local result = program(("%s --trace %s -e '%s'"):format(ranks, path, code))
      assert.equal(1, result.status)
      local found = read(path)
      for r = 0, 1 do find(found[r], "add", mosaic.default_device()) end
      assert.is_true(find(found[0], "wait for barrier", "host")[1].args.unfinished)
      assert.equal("", program.shell(("ls %s.*"):format(path)).out)
    end
  end)

  it("is put together by a command where another launcher's job has failed", function()
    local file = assert(io.open(path .. ".rank3", "w"))
    file:write '{"displayTimeUnit":"ms","traceEvents":[\n{"ph":"X","pid":3,"tid":1,"name":"a"}\n]}\n'
    file:close()
    assert.equal(path .. ": ranks joined: 1\n", program("trace " .. path).out)
    assert.equal("a", read(path)[3].events[1].name)
    assert.equal(1, program("trace " .. path).status)
  end)

  it("is written before os.exit", function()
    local result = program(("--trace %s -e 'local x = mosaic.ones{2} + 1; os.exit(3, true)'"):format(path))
    assert.equal(3, result.status)
    find(read(path)[0], "add", mosaic.default_device())
  end)

  it("refuses what it cannot write", function()
    local result = program "--trace /no/such/folder/x.json -e 'print(1)'"
    assert.same({ "", 1 }, { result.out, result.status })
    assert.truthy(result.err:find("trace: cannot write /no/such/folder/x.json: No such file", 1, true))
  end)
end)
