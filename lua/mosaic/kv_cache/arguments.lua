--- What a K/V cache is made of, and the checks that its methods share.
local check = require "mosaic.check"
local devices = require "mosaic.device"
local Deal = require "mosaic.kv_cache.deal"
local masks = require "mosaic.mask"
local numbers = require "mosaic.numbers"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"

local arguments = {}

local DTYPES = { "f32", "f64", "bf16", "f16" }

--- A list of ids becomes a tensor; ids are (batch or 1, rows) from here on.
function arguments.documents(cache, ids)
  if ids == nil then return nil end
  ids = masks.as_tensor("KVCache", "documents", ids, "i64", cache.device)
  return ids.ndim == 1 and ids:unsqueeze(1) or ids
end

--- The cache's mask in its normal form.
local function mask_of(value, device)
  local mask = masks.normal("KVCache", value, device)
  if mask.documents then
    check.fail "KVCache: documents come with the rows: append(k, v, { documents = ids })"
  end
  for _, name in ipairs { "keep", "bias" } do
    if Tensor.is(mask[name]) then
      check.fail("KVCache: mask.%s %s has a column for every key, of which there will be more", name,
        mask[name]:describe())
    end
  end
  return mask
end

local function check_new(cache, options)
  cache.kv_heads = check.integer("KVCache", "kv_heads", options.kv_heads, 1)
  cache.head_size = check.integer("KVCache", "head_size", options.head_size, 1)
  cache.batch = check.integer("KVCache", "batch", options.batch or 1, 0)
  cache.dtype = check.one_of("KVCache", "dtype", options.dtype or "f32", DTYPES)
  cache.device = devices.resolve("KVCache", options.device)
  cache.mask, cache.scale = mask_of(options.mask, cache.device), options.scale
  numbers.scale("KVCache", cache.scale)
  return {
    kv_heads = cache.kv_heads, head_size = cache.head_size, batch = cache.batch, dtype = cache.dtype,
    mask = masks.describe(cache.mask), scale = cache.scale or "default",
    layout = check.one_of("KVCache", "layout", options.layout or "fewest", Deal.LAYOUTS),
    block_size = check.integer("KVCache", "block_size", options.block_size or 1, 1),
  }
end

--- Sets what the options say on a new cache; fails on every rank where the ranks' options differ.
function arguments.new(cache, options)
  cache.comm:together("KVCache", function() return check_new(cache, options) end)
end

--- t must be (batch, heads, rows, d) as the cache is, and cut off the tape.
function arguments.check_tensor(where, cache, name, t)
  if not Tensor.is(t) or t.ndim ~= 4 then
    check.fail("%s: %s must be a tensor (batch, heads, rows, head size), got %s", where, name,
      Tensor.is(t) and t:describe() or check.show(t))
  elseif t.dtype ~= cache.dtype then
    check.fail("%s: %s is %s, the cache holds %s: convert it with :to \"%s\"", where, name, t:describe(),
      cache.dtype, cache.dtype)
  elseif t.device ~= cache.device then
    check.fail("%s: %s is %s on %s, the cache is on %s", where, name, t:describe(), t.device, cache.device)
  elseif t:size(1) ~= cache.batch or t:size(4) ~= cache.head_size then
    check.fail("%s: %s is %s, the cache has batch %d and head size %d", where, name, t:describe(),
      cache.batch, cache.head_size)
  elseif t.edge and state.current.recording then
    check.fail("%s: %s takes part in a gradient, which a cache does not carry back; use mosaic.no_grad or "
      .. "detach()", where, name)
  end
end

--- Ids for `rows` rows, or none, as the cache has them.
function arguments.check_documents(where, cache, ids, rows)
  local used = cache.store.tensors.documents ~= nil
  if cache.deal.rows > 0 and used ~= (ids ~= nil) then
    check.fail("%s: documents are %s, but the rows before have %s", where, ids and "given" or "missing",
      used and "some" or "none")
  end
  ids = arguments.documents(cache, ids)
  local fits = not ids or ids.ndim == 2 and ids.dtype == "i64" and ids:size(2) == rows
    and (ids:size(1) == 1 or ids:size(1) == cache.batch)
  if not fits then
    check.fail("%s: documents must be i64 (%d) or (%d, %d), got %s", where, rows, cache.batch, rows,
      ids:describe())
  end
  return ids and ids:size(1) or "none"
end

--- Fails on every rank unless all forget the same rows.
function arguments.truncate(cache, n)
  local where = "KVCache: truncate"
  cache.comm:together(where, function()
    check.integer(where, "n", n, 0)
    if n > cache.deal.rows then
      check.fail("%s: %d tokens are to stay, the cache holds %d", where, n, cache.deal.rows)
    end
    return { held = cache.deal.rows, stay = n }
  end)
end

return arguments
