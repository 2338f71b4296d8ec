--- Who may know whom: nothing points upward. The order is the README's "Finding one's way".

--- Lowest first. A file may require modules of its own layer and of lower ones.
local LAYERS = {
  { "ffi", "state", "class", "nearest", "heap", "check", "environment", "clock", "terminal", "runtime",
    "numbers", "work", "hash", "device", "values", "span", "timeline" },
  { "balance", "partition", "mesh", "mesh_shape", "placement", "visibility", "course", "folder", "tiers" },
  { "tensor" },
  { "autograd" },
  { "program", "mask", "attention", "comm", "wire" },
  { "context", "trace" },
  { "tile", "traffic", "slices", "exchange", "batch_split", "rotate_queries",
    "plan", "strategy", "partial", "travel", "nearby", "rotate", "move", "infini",
    "mask_rows", "head_split", "pool", "dilated",
    "hierarchy", "rshard" },
  { "attend", "parallel", "compressed", "switch", "kv_cache" },
  { "data" },
  { "nn", "optim" },
  { "verify" },
  { "host", "command" },
  { "init" },
}

local rank_of = {}
for rank, names in ipairs(LAYERS) do
  for _, name in ipairs(names) do rank_of[name] = rank end
end

local function lines_of(command)
  local pipe, lines = io.popen(command), {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  return lines
end

local function layer_of(path)
  return path:match "^lua/mosaic/([%w_]+)"
end

describe("the layers", function()
  it("of Lua point downward only", function()
    local files = lines_of "find lua/mosaic -name '*.lua'"
    assert.is_true(#files > 50)
    for _, path in ipairs(files) do
      local own = layer_of(path)
      assert.truthy(rank_of[own], path .. " belongs to no layer")
      for line in io.lines(path) do
        local name = line:match 'require%s*%(?%s*"mosaic%.([%w_]+)'
        if name then
          assert.is_true(rank_of[name] <= rank_of[own], path .. " requires, from above, mosaic." .. name)
        end
      end
    end
  end)

  it("keep the core free of Lua, MPI and CUDA", function()
    local pattern = [[#include *[<"].*(lua|mpi|cuda|nccl)]]
    for _, path in ipairs(lines_of(("grep -rlE '%s' core"):format(pattern))) do
      assert.truthy(path == "core/comm/mpi.c" or path == "core/main.c" or path:match "^core/host/", path)
    end
    assert.same({}, lines_of "grep -rliE 'cuda|nvidia|nvcc' core")
  end)

  it("keep what is for all devices away from the CPU's own", function()
    assert.same({}, lines_of [[grep -rlE 'include *"(\.\./)*cpu/' core --exclude-dir=cpu]])
  end)

  it("keep strategies away from the C library", function()
    local folders = "lua/mosaic/strategy lua/mosaic/nn lua/mosaic/optim examples"
    assert.same({}, lines_of("grep -rl 'mosaic.ffi' " .. folders))
  end)
end)
