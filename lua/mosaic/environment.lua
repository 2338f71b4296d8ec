--- The environment variables that users set, and what each may hold. An empty one counts as not set.
-- Checked once, when the program or the module starts; who reads one later relies on it. MOSAIC_DEVICE is not
-- here: device.lua says which devices there are.
local environment = {}

local function one_of(...)
  local known, text = {}, table.concat({ ... }, ", ")
  for _, word in ipairs { ... } do known[word] = true end
  return function(value) return known[value], "one of " .. text end
end

local function integer(least, most)
  local text = most and ("an integer from %d to %d"):format(least, most) or "an integer of at least " .. least
  return function(value)
    local number = value:match "^%d+$" and tonumber(value)
    return number and number >= least and number <= (most or 2 ^ 53), text
  end
end

local function seconds(value)
  local number = tonumber(value)
  return number and number > 0, "a positive number of seconds"
end

local function pace(value)
  local latency, gbit = value:match "^([%d.]+):([%d.]+)$"
  latency, gbit = tonumber(latency), tonumber(gbit)
  return latency and gbit and gbit > 0, "latency:bandwidth in microseconds and Gbit/s, such as 20:10"
end

local VARIABLES = { -- in the order in which they are looked at
  { "MOSAIC_ISA", one_of("scalar", "avx2", "avx512", "amx", "neon") },
  { "MOSAIC_THREADS", integer(1, 256) },
  { "MOSAIC_TIMEOUT", seconds },
  { "MOSAIC_TF32", one_of("0", "1") },
  { "MOSAIC_ATTENTION", one_of("auto", "mosaic", "small", "hopper", "tensor", "plain") },
  { "MOSAIC_TRANSPORT", one_of("auto", "nccl", "ipc", "staged") },
  { "MOSAIC_NODE_SIZE", integer(1) },
  { "MOSAIC_MEMORY_LIMIT", integer(1) },
  { "MOSAIC_SHARE", one_of("auto", "all", "copies", "off") },
  { "MOSAIC_SHARE_FROM", integer(0) },
  { "MOSAIC_CUDA_CACHE", one_of("0", "1") },
  { "MOSAIC_STAGING_LIMIT", integer(1) },
  { "MOSAIC_STAGING_PIECE", integer(1) },
  { "MOSAIC_IPC_SLOT", integer(1) },
  { "MOSAIC_PACE", pace },
  { "MOSAIC_MPI_PIECE", integer(1) },
}

--- What is wrong with the first variable that is: "MOSAIC_TF32 must be one of 0, 1, got 'yes'"; else nil.
function environment.problem()
  for _, variable in ipairs(VARIABLES) do
    local name, check = unpack(variable)
    local value = os.getenv(name) or ""
    local fine, allowed = check(value)
    if value ~= "" and not fine then return ("%s must be %s, got '%s'"):format(name, allowed, value) end
  end
end

--- The names of all of them.
function environment.names()
  local names = {}
  for i, variable in ipairs(VARIABLES) do names[i] = variable[1] end
  return names
end

--- A number that one of them says, or nil.
function environment.number(name) return tonumber(os.getenv(name)) end

return environment
