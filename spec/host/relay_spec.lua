local relay = require "mosaic.host.relay"
local report = require "mosaic.host.report"

--- A relay and the list of what it wrote.
local function recorder()
  local written = {}
  return relay.new(function(text) written[#written + 1] = text end), written
end

local function report_of(rank, text)
  return report.prefixed(text, rank, 4, "node1", report.MARK)
end

describe("the relay of the ranks' stderr", function()
  it("joins equal reports and keeps different ones apart", function()
    local stream, written = recorder()
    for _, rank in ipairs { 3, 0, 1 } do stream:feed(report_of(rank, "a.lua:1: boom\nstack"), 1) end
    stream:feed(report_of(2, "a.lua:2: bang"), 1)
    stream:tick(1.1)
    assert.same({}, written)
    stream:tick(2)
    assert.same({
      "[ranks 0-1,3/4 node1] a.lua:1: boom\n[ranks 0-1,3/4 node1] stack\n",
      "[rank 2/4 node1] a.lua:2: bang\n",
    }, written)
  end)

  it("puts reports together that arrive in pieces and interleaved", function()
    local stream, written = recorder()
    local a, b = report_of(0, "x: 1\nline two"), report_of(1, "x: 1\nline two")
    stream:feed(a:sub(1, 9), 1)
    stream:feed(a:sub(10, 25), 1)
    stream:feed(a:sub(26) .. b, 1)
    stream:close()
    assert.same({ "[ranks 0-1/4 node1] x: 1\n[ranks 0-1/4 node1] line two\n" }, written)
  end)

  it("passes other text at once, unfinished lines too", function()
    local stream, written = recorder()
    stream:feed("hello\nstep 1", 1)
    stream:feed("\rstep 2", 1)
    assert.equal("hello\nstep 1\rstep 2", table.concat(written))
  end)

  it("recognises a report behind an unfinished line", function()
    local stream, written = recorder()
    stream:feed("50 %" .. report_of(1, "boom"), 1)
    stream:close()
    assert.equal("50 %\n[rank 1/4 node1] boom\n", table.concat(written))
  end)

  it("drops mpirun's frame after a report, and shows it otherwise", function()
    local dashes = ("-"):rep(74)
    local frame = ("%s\nmpirun noticed that rank 1 exited on signal 9\n%s\n"):format(dashes, dashes)
    local stream, written = recorder()
    stream:feed(frame:sub(1, 90), 1)
    stream:feed(frame:sub(91), 1)
    assert.equal(frame, table.concat(written))
    stream, written = recorder()
    stream:feed(report_of(0, "boom"), 1)
    stream:feed(frame, 1)
    stream:close()
    assert.same({ "[rank 0/4 node1] boom\n" }, written)
  end)

  it("drops mpirun's word on an abort, and what its daemons log after a report", function()
    local dashes = ("-"):rep(74)
    local stream, written = recorder()
    stream:feed("mosaic: rank 0: timed out\n", 1)
    stream:feed(dashes .. "\nMPI_ABORT was invoked on rank 1\n" .. dashes .. "\n", 1)
    stream:feed("[vm:12] 1 more process has sent help message\n[vm:12] PMIX ERROR: A\n", 1)
    stream:feed(report_of(0, "boom") .. "[vm:12] PMIX ERROR: B\n[note] mine\n", 1)
    stream:close()
    assert.equal("mosaic: rank 0: timed out\n[vm:12] PMIX ERROR: A\n[note] mine\n[rank 0/4 node1] boom\n",
      table.concat(written))
  end)

  it("writes ranks as ranges", function()
    assert.equal("0-3,5,7-8", relay.ranges { 8, 0, 1, 2, 3, 7, 5 })
  end)
end)
