--- Attention beside torch's backends: sequences under masks, single precision, short axes, axes in place.
--
-- Useful work counts: 4 d operations forward and 10 d backward for each pair that the mask lets through,
-- whatever a kernel computes besides.
local measure = require "gpu.measure"
local mosaic = require "mosaic"

local attention = {}

local SDPA = { "flash", "cudnn", "efficient" }
local FACTOR = { forward = 4, backward = 10 }

local function noise(dtype, ...) return mosaic.randn { dtype = dtype, ... } end

--- Lengths of documents that fill n positions: uneven ones, the same everywhere.
local function document_lengths(n)
  local lengths, left = {}, n
  for i = 0, 10 do
    lengths[#lengths + 1] = math.floor(n * (1 + 5 * i % 4) / 32)
    left = left - lengths[#lengths]
  end
  lengths[#lengths + 1] = left
  return lengths
end

--- What a mask is: its name for the peer, what Mosaic takes, and the pairs that it lets through.
local masks = {}

function masks.none(n) return "none", nil, n * n end

function masks.causal(n) return "causal", { causal = true }, n * (n + 1) / 2 end

function masks.documents(n)
  local lengths, ids, pairs_seen = document_lengths(n), {}, 0
  for i, length in ipairs(lengths) do
    for _ = 1, length do ids[#ids + 1] = i end
    pairs_seen = pairs_seen + length * length
  end
  local mask = { documents = mosaic.tensor(ids, { dtype = "i64" }) }
  return "documents:" .. table.concat(lengths, ","), mask, pairs_seen
end

function masks.window(n)
  local left = math.floor(n / 16) - 1
  return "window:" .. left, { window = { left, 0 } }, (left + 1) * n - left * (left + 1) / 2
end

--- One call of Mosaic's, forward or backward, without a tape.
local function call(direction, q, k, v, options)
  local out, lse = mosaic.attention.forward(q, k, v, options)
  if direction == "forward" then
    options.out, options.lse = out, lse
    return function() mosaic.attention.forward(q, k, v, options) end
  end
  local dout = noise(out.dtype, unpack(out.shape))
  return function()
    mosaic.attention.backward(dout, lse, mosaic.attention.delta(dout, out), q, k, v, options)
  end
end

--- The call, made when it is first used, so that an error belongs to the row.
local function later(make)
  local body
  return function()
    body = body or make()
    return body()
  end
end

local function peers(backends, line)
  local list = {}
  for i, backend in ipairs(backends) do list[i] = { backend, (line:gsub("BACKEND", backend)) } end
  return list
end

--- A row: attention over n positions. case: { direction, dtype, n, heads, d, mask, backends, goal }
local function sequence(case)
  local n, heads, d = case.n, case.heads, case.d
  local peer_mask, mask, visible = masks[case.mask](n)
  local line = ("%s BACKEND %s %d %d %d %s"):format(case.direction, case.dtype, n, heads, d, peer_mask)
  local function operand() return noise(case.dtype, 1, heads, n, d) end
  measure.compare {
    name = ("%s %s, %d x %d, d %d, %s"):format(case.direction, case.dtype, heads, n, d, case.mask),
    unit = "TFLOP/s", goal = case.goal,
    scale = function(seconds) return FACTOR[case.direction] * visible * d * heads / seconds * 1e-12 end,
    body = later(function()
      return call(case.direction, operand(), operand(), operand(), { mask = mask })
    end),
    peers = peers(case.backends, line),
  }
end

--- Goals of half precision, as shares of the fastest peer: by head size without a mask, else by mask.
local GOALS = {
  forward = { [24] = 1.2, [64] = 0.8, [128] = 0.75, documents = 1.2, window = 1.2 },
  backward = { [24] = 0.65, [64] = 0.65, [128] = 0.65 },
}

--- Half precision under all masks: the rows that have a goal, or the others.
function attention.half(sizes, with_goal)
  for _, direction in ipairs { "forward", "backward" } do
    for _, mask in ipairs { "none", "documents", "window", "causal" } do
      for _, d in ipairs { 24, 64, 128 } do
        local special = mask == "documents" or mask == "window" -- that is FlexAttention's
        local goal = GOALS[direction][mask == "none" and d or mask]
        if (goal ~= nil) == with_goal then
          sequence {
            direction = direction, dtype = "bf16", n = sizes.n, heads = sizes.heads[d], d = d, mask = mask,
            backends = special and { "flex" } or { "flash", "cudnn", "efficient", "flex" }, goal = goal,
          }
        end
      end
    end
  end
end

--- Single precision, accurate; how accurate either is, the rows of errors say.
function attention.single(sizes)
  for _, d in ipairs { 64, 24, 128 } do
    sequence {
      direction = "forward", dtype = "f32", n = sizes.n, heads = sizes.heads[d], d = d, mask = "none",
      backends = { "efficient" }, goal = 1.5,
    }
  end
  sequence {
    direction = "forward", dtype = "f32", n = sizes.n / 4, heads = sizes.heads[64], d = 64, mask = "none",
    backends = { "efficient", "math" }, goal = 1.5,
  }
end

--- q, k or v along an axis of (1, rows, features, heads d), in place: (1, other axis, heads, axis, d).
local function along(axis, dtype, rows, features, heads, d)
  local x = noise(dtype, 1, rows, features, heads, d)
  return axis == "features" and x:permute { 1, 2, 4, 3, 5 } or x:permute { 1, 3, 4, 2, 5 }
end

--- Attention over a short axis: many small problems, bound by memory.
function attention.features(sizes)
  local rows, features, heads, d = sizes.rows, 5, 4, 24
  for _, dtype in ipairs { "bf16", "f32" } do
    for _, direction in ipairs { "forward", "backward" } do
      -- read: q, k, v; backward also dout twice and out, in f32; written in f32: out, or dq, dk, dv
      local bytes = 3 * (dtype == "bf16" and 2 or 4) + (direction == "forward" and 4 or 24)
      local moved = rows * features * heads * d * bytes
      measure.compare {
        name = ("features axis %s %s, %d rows x 5, H 4, d 24"):format(direction, dtype, rows), unit = "GB/s",
        scale = function(seconds) return moved / seconds * 1e-9 end,
        body = later(function()
          local function operand() return along("features", dtype, rows, features, heads, d) end
          return call(direction, operand(), operand(), operand(), {})
        end),
        peers = peers({ "flash", "efficient", "math" }, ("axis-%s BACKEND %s %d %d %d %d features"):format(
          direction, dtype, rows, features, heads, d)),
      }
    end
  end
end

--- Bytes that one forward call allocates beyond its results.
local function extra_bytes(q, k, v)
  local options = {}
  options.out, options.lse = mosaic.attention.forward(q, k, v)
  mosaic.collect()
  local device = mosaic.default_device()
  mosaic.reset_peak_memory(device)
  local before = mosaic.memory(device).live_bytes
  mosaic.attention.forward(q, k, v, options)
  return mosaic.memory(device).peak_bytes - before
end

--- Attention over the rows of a table, in place: no copy is made, and strides cost nothing.
function attention.routing(sizes)
  local rows, features, heads, d = sizes.n / 4, 5, 4, 24
  local function operand() return along("rows", "bf16", rows, features, heads, d) end
  measure.check(("rows axis in place bf16, %d rows x 5: bytes used besides"):format(rows), function()
    local q = operand()
    local extra = extra_bytes(q, operand(), operand())
    return { value = extra, unit = "bytes", met = extra < q:numel() }
  end)
  for _, place in ipairs { "in place", "from contiguous copies" } do
    measure.compare {
      name = ("rows axis %s bf16, %d rows x 5, H 4, d 24"):format(place, rows), unit = "TFLOP/s",
      scale = function(seconds) return 4 * rows * rows * d * heads * features / seconds * 1e-12 end,
      body = later(function()
        local function placed() return place == "in place" and operand() or operand():contiguous() end
        return call("forward", placed(), placed(), placed(), {})
      end),
      peers = place == "in place" and peers(SDPA, ("axis-forward BACKEND bf16 %d %d %d %d rows"):format(
        rows, features, heads, d)) or nil,
    }
  end
end

return attention
