--- mosaic-lua verify: does a strategy give the one-rank answer, and what does it cost? Exit status 1 when
-- anything is out of bounds.
local USAGE = [[
usage: mosaic-lua [-n P] verify [options]
Compares sharded attention with the one-rank answer, forward and gradients; prints errors, bytes sent
against the strategy's formula, work and memory of the ranks. Exit status 1: something is out of bounds;
2: it cannot be done as asked.
  --strategy S    a name, or a Lua table as in mosaic.attend: '{"hierarchical", intra_node_size = 2}';
                  "all" for every built-in one with its defaults, and a mask and layout of its own where
                  it does not take all (default ring)
  --ranks P       virtual ranks (default 4); not with -n, whose ranks are those
  --rows N        queries (default 257)          --key-rows N    keys (default: as many)
  --heads H       (default 4)                    --kv-heads H    (default: as many)
  --head-size D   (default 16)                   --batch B       (default 1)
  --layout L      contiguous, zigzag, striped, or documents, which balances those of the mask
                  (default: zigzag for causal masks, else contiguous)
  --mask M        causal,window=LEFT:RIGHT,prefix=T,documents=N,alibi,keep,bias: any of them, with commas
  --dtype T       f64,f32,bf16,f16: any of them, with commas (default f64,f32)
  --wire W        bf16, fp8 or int8: how keys and values travel
  --dropout P     of the probabilities (default 0)
  --seed S        of the random numbers (default 1)
]]

local mosaic = require "mosaic"

local SIZES = {
  rows = "rows", ["key-rows"] = "key_rows", heads = "heads", ["kv-heads"] = "kv_heads",
  ["head-size"] = "head_size", batch = "batch",
}
local NUMBERS = { ranks = "ranks", seed = "seed", dropout = "dropout" }
local TEXTS = { layout = "layout", mask = "mask", wire = "wire", strategy = "strategy", dtype = "dtypes" }

local function refuse(format, ...)
  if mosaic.comm.world().rank == 0 then
    io.stderr:write("mosaic-lua verify: ", format:format(...), "\nTry 'mosaic-lua verify --help'.\n")
  end
  os.exit(2, true)
end

local function names()
  local list = { "help" }
  for _, known in ipairs { SIZES, NUMBERS, TEXTS } do
    for name in pairs(known) do list[#list + 1] = name end
  end
  return list
end

local function number(name, text)
  return tonumber(text) or refuse("--%s: expected a number, got '%s'", name, text)
end

--- "--name value" or "--name=value" into sizes or options.
local function read(words)
  local sizes, options, i = {}, {}, 1
  while words[i] do
    local name, value = words[i]:match "^%-%-([%w-]+)=?(.*)$"
    if name == "help" then
      io.write(USAGE)
      os.exit(0, true)
    elseif not (name and (SIZES[name] or NUMBERS[name] or TEXTS[name])) then
      local near = name and require "mosaic.nearest"(name, names())
      refuse("unknown option '%s'%s", words[i], near and (", did you mean '--%s'?"):format(near) or "")
    elseif not words[i]:find("=", 1, true) then
      i, value = i + 1, words[i + 1] or refuse("--%s: a value is missing", name)
    end
    if SIZES[name] then
      sizes[SIZES[name]] = number(name, value)
    else
      options[NUMBERS[name] or TEXTS[name]] = NUMBERS[name] and number(name, value) or value
    end
    i = i + 1
  end
  return sizes, options
end

--- "ring", or the table that a text like {"ring", directions = 2} describes; no function can be called.
local function strategy_of(text)
  if not text:find "^%s*{" then return text end
  local chunk, wrong = load("return " .. text, "=--strategy", "t", {})
  local ok, value = pcall(chunk or error, wrong)
  return ok and value or refuse("--strategy: %s", tostring(value))
end

local function list_of(text)
  local list = {}
  for item in text:gmatch "[^,]+" do list[#list + 1] = item end
  return list
end

local case = require "mosaic.verify.case"
local world = mosaic.comm.world()

--- f(...), where an error in what the user asked for is refused; one in the library keeps its traceback.
local function asked(f, ...)
  local ok, found = xpcall(f, function(wrong)
    local text = tostring(wrong)
    local ours = text:find "^[^\n]*mosaic/[%w_/]+%.lua:%d+: "
    return ours and debug.traceback(text, 2) or { text:match "^[^\n]*" }
  end, ...)
  if ok then return found end
  if type(found) == "string" then error(found, 0) end
  refuse("%s", (found[1]:gsub("^rank %d+: ", ""):gsub("^verify: ", "")))
end

--- The sizes and options for one strategy of all: its own where it does not take every mask, layout or world.
local function for_one(each, sizes, options)
  local own = { quiet = world.rank > 0 }
  for name, value in pairs(options) do own[name] = value end
  for name, value in pairs(mosaic.strategy.get(each).body.verify or {}) do own[name] = value end
  local batch = own.batch
  own.batch = nil
  if not batch or sizes.batch then return sizes, own end
  local larger = { batch = batch(options.ranks or (world.size > 1 and world.size or 4)) }
  for name, value in pairs(sizes) do larger[name] = value end
  return larger, own
end

local sizes, options = read { ... }
if options.ranks and world.size > 1 then
  refuse("--ranks %g: with -n the job's %d ranks are those that take part", options.ranks, world.size)
elseif options.ranks then
  asked(mosaic.check.integer, "verify", "--ranks", options.ranks, 1)
end
local wanted = options.strategy or "ring"
options.strategy, options.dtypes = nil, options.dtypes and list_of(options.dtypes)
options.dropout = options.dropout and { p = options.dropout, seed = options.seed or 1 }
asked(function() return case.mask(options.mask, case.sizes(sizes)) end)
io.stdout:setvbuf "line" -- notices on stderr come between lines
local fine = true
if wanted == "all" then
  for _, each in ipairs(mosaic.strategy.names()) do
    local ok, found = pcall(mosaic.verify, each, for_one(each, sizes, options))
    if not ok then io.stderr:write(("%s: %s\n"):format(each, tostring(found))) end
    fine = ok and found.ok and fine
  end
else
  fine = asked(mosaic.verify, strategy_of(wanted), sizes, options).ok
end
if not fine then os.exit(1, true) end
