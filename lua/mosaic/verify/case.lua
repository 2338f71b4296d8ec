--- What verify computes with: tensors that every rank can make for itself, and masks by name.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Generator = require "mosaic.tensor.generator"
local random = require "mosaic.tensor.random"

local case = {}

local SIZES = { batch = 1, heads = 4, kv_heads = false, rows = 257, key_rows = false, head_size = 16 }
local NAMES = { "batch", "heads", "kv_heads", "rows", "key_rows", "head_size" }

--- Sizes with defaults: batch 1, heads 4, kv_heads = heads, rows 257, key_rows = rows, head_size 16.
function case.sizes(given)
  check.options("verify: sizes", given, NAMES)
  local sizes = {}
  for name, default in pairs(SIZES) do
    local least = (name == "rows" or name == "key_rows") and 0 or 1
    sizes[name] = given[name] and check.integer("verify", name, given[name], least) or default
  end
  sizes.kv_heads, sizes.key_rows = sizes.kv_heads or sizes.heads, sizes.key_rows or sizes.rows
  if sizes.heads % sizes.kv_heads ~= 0 then
    check.fail("verify: %d heads are no multiple of %d kv_heads", sizes.heads, sizes.kv_heads)
  end
  return sizes
end

local masks = {}

function masks.causal() return true end
function masks.prefix(sizes, value) return value or math.floor(sizes.key_rows / 3) end
function masks.window(_, left, right) return { left or 64, right or left or 64 } end

--- Packed documents of uneven lengths, later ones shorter.
function masks.documents(sizes, count)
  local longest = math.max(sizes.rows, sizes.key_rows)
  local function ids(rows)
    local list = {}
    for i = 1, rows do list[i] = math.floor(((i - 1) / longest) ^ 2 * (count or 5)) end
    return create.tensor(list, { dtype = "i64" })
  end
  return { q = ids(sizes.rows), k = ids(sizes.key_rows) }
end

function masks.alibi(sizes)
  local slopes = {}
  for h = 1, sizes.heads do slopes[h] = 2 ^ (-8 * h / sizes.heads) end
  return slopes
end

local function scores(sizes, generator)
  return random.randn { sizes.heads, sizes.rows, sizes.key_rows, dtype = "f64", generator = generator }
end

function masks.keep(sizes, _, _, generator) return scores(sizes, generator):gt(-0.5) end
function masks.bias(sizes, _, _, generator) return scores(sizes, generator) end

--- A mask from text: "causal,window=8:2,prefix=100,documents=5,alibi,keep,bias"; whole, for all rows.
function case.mask(text, sizes)
  local names, mask = {}, {}
  for name in pairs(masks) do names[#names + 1] = name end
  table.sort(names)
  for item in (text or ""):gmatch "[^,]+" do
    local name, first, second = item:match "^(%w+)=?(%-?%d*):?(%-?%d*)$"
    if name ~= "none" then
      check.one_of("verify", "mask", name or item, names)
      mask[name] = masks[name](sizes, tonumber(first), tonumber(second), Generator(17))
    end
  end
  return mask
end

--- q, k, v, dout, dlse in f64, whole: the same on every rank.
function case.tensors(sizes, seed)
  local generator = Generator(seed)
  local function make(heads, rows, ...)
    return random.randn { sizes.batch, heads, rows, ..., dtype = "f64", generator = generator }
  end
  return {
    q = make(sizes.heads, sizes.rows, sizes.head_size),
    k = make(sizes.kv_heads, sizes.key_rows, sizes.head_size),
    v = make(sizes.kv_heads, sizes.key_rows, sizes.head_size),
    dout = make(sizes.heads, sizes.rows, sizes.head_size), dlse = make(sizes.heads, sizes.rows),
  }
end

return case
