local program = require "spec.support.program"

--- What the prompt answers to the lines: its output without the banner, and its errors.
local function answers(lines)
  local result = program("-i", { stdin = table.concat(lines, "\n") .. "\n" })
  assert.equal(0, result.status)
  return (result.out:gsub("^mosaic%-lua[^\n]*\n", "")), result.err
end

--- The screen after typing the text at a terminal of its own, whose last key ends the prompt; then the
-- history that it keeps.
local function typed(text)
  local keys = program.script(text)
  local command = ([[home=$(mktemp -d); {
    AWAIT_PROMPT; cat KEYS; AWAIT_END; } | HOME=$home TERM=xterm script -qec "PROGRAM; touch $home/ended" \
      /dev/null >$home/screen
    cat $home/screen $home/.mosaic_history; rm -r $home]]):gsub("%u[%u_]+%u", {
    AWAIT_PROMPT = program.await "grep -q '> ' $home/screen", KEYS = keys, PROGRAM = program.path,
    AWAIT_END = program.await "[ -e $home/ended ]",
  })
  local screen = program.shell(command).out
  os.remove(keys)
  return screen
end

describe("the prompt", function()
  it("prints the values of expressions, none for statements", function()
    assert.equal("> 3\n> > 4\tnil\n> 5\n> ", (answers { "1 + 2", "x = 4", "return x, nil", "=x+1" }))
  end)

  it("reads on until a chunk is whole", function()
    assert.equal("> >> >> 1\n2\n> ", (answers { "for i = 1, 2 do", "print(i)", "end" }))
  end)

  it("goes on after errors", function()
    local out, err = answers { "local t = nil; t.x = 1", "x = = 2", "'alive'" }
    assert.equal("> > > alive\n> ", out)
    assert.equal("prompt:1: attempt to index local 't' (a nil value)\nstack traceback:\n"
      .. "\tprompt:1: in main chunk\nprompt:1: unexpected symbol near '='\n", err)
  end)

  it("has mosaic loaded, and keeps what the script left", function()
    local path = program.script "kept = 12"
    local result = program("-i " .. path, { stdin = "kept, mosaic.ones(3):numel()\n" })
    os.remove(path)
    assert.matches("> 12\t3\n> $", result.out)
  end)

  it("completes names at a terminal and keeps a history", function()
    local screen = typed("mosaic.aran\t(1, 5):numel()\nstring.rep('ab', 2)\n\4")
    assert.matches("\n5\r\n", screen)
    assert.matches("\nabab\r\n", screen)
    assert.matches("mosaic%.arange%(1,\\0405%):numel%(%)", screen)
  end)

  it("comes back from a running chunk on Ctrl-C", function()
    local result = program.shell(("d=$(mktemp -d); mkfifo $d/keys; "
      .. "(%s -i <$d/keys & echo $! >$d/pid; wait) & exec 3>$d/keys; "
      .. "echo \"io.open('$d/loops', 'w'):close() while true do end\" >&3; %s; kill -INT $(cat $d/pid); "
      .. "echo \"'alive'\" >&3; exec 3>&-; wait; rm -r $d"):format(program.path,
      program.await "[ -e $d/loops ]"))
    assert.matches("> > alive\n", result.out)
    assert.matches("interrupted", result.err)
  end)
end)
