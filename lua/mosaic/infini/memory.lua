--- The compressive memory of Infini-attention: one matrix M and one vector z per head, what they hold
-- before every segment, and what queries read from them.
--
-- M and z lie side by side, (b, kv heads, d, d + 1), so that one product reads both:
-- f(q) [M, z] holds the values and, last, what they are divided by. f(x) = elu(x) + 1.
local Function = require "mosaic.autograd.function"
local create = require "mosaic.tensor.create"
local join = require "mosaic.tensor.join"
local scan = require "mosaic.infini.scan"

local memory = {}

-- elu(x) + 1 without the difference of nearly equal numbers that elu leaves for x far below 0.
local feature = Function("infini.feature", {
  forward = function(ctx, x)
    local f = x:clamp(nil, 0):exp_():add_(x:relu())
    ctx:save("f", f)
    return f
  end,
  backward = function(ctx, g) return g * ctx.f:clamp(nil, 1) end,
})

--- 1 / x, and 0 where x is 0: an empty memory corrects nothing and answers 0.
local function inverse(x)
  return x:masked_fill(x:eq(0), math.huge):reciprocal()
end

local function dtype_of(t) return t.dtype == "f64" and "f64" or "f32" end

--- An empty memory for keys (b, kv heads, n, d).
function memory.empty(k)
  local d = k:size(-1)
  return create.zeros { k:size(1), k:size(2), d, d + 1, dtype = dtype_of(k), device = k.device }
end

--- What has come together before each of this rank's segments and after the last, (b, s + 1, ...): of
-- x (b, s, ...), after `start` and all that lower ranks have.
local function running_sum(comm, x, start)
  if comm.size > 1 then start = start + scan.sum(comm, x:sum(2)) end
  return join.cat({ start:unsqueeze(2), x }, 2):cumsum(2)
end

local function identity(d, like)
  local line = create.arange(1, d, { device = like.device })
  return line:unsqueeze(1):eq(line:unsqueeze(2)):to(like.dtype)
end

--- Where this rank's segments start from, given that those of rank 0 start from `start`.
local function start_of(comm, maps, offsets, start)
  if comm.size == 1 then return start end
  local shape, segments = start.shape, maps:size(2)
  local d = shape[3]
  local eye, none = identity(d, start):expand(shape), start:zeros_of(shape)
  local whole = scan.recur(maps, join.cat({ offsets:zeros_like(), offsets }, -1), join.cat({ eye, none }, -1))
    :select(2, segments + 1)
  local map, offset = unpack(whole:split({ d, d }, -1))
  return scan.across(comm, map, offset, start)
end

local update = {}

--- M += f(k)^T v, z += sum f(k).
function update.linear(comm, f, v, start)
  local added = join.cat({ f:t():matmul(v), f:sum(-2):unsqueeze(-1) }, -1)
  return running_sum(comm, added, start)
end

--- M += f(k)^T (v - f(k) M / (f(k) z)), which is affine in M: (1 - f(k)^T D^-1 f(k)) M + f(k)^T v with
-- D = diag(f(k) z).
function update.delta(comm, f, v, start)
  local segments, d = f:size(2), f:size(-1)
  local first, z = unpack(start:split({ d, 1 }, -1))
  z = running_sum(comm, f:sum(-2):unsqueeze(-1), z)
  local scaled = f * inverse(f:matmul(z:narrow(2, 1, segments)))
  local maps, offsets = identity(d, f) - f:t():matmul(scaled), f:t():matmul(v)
  local m = scan.recur(maps, offsets, start_of(comm, maps, offsets, first))
  return join.cat({ m, z }, -1)
end

--- The memory before each of this rank's segments, and after the last: (b, s + 1, kv heads, d, d + 1).
-- k, v (b, s, kv heads, w, d); start (b, kv heads, d, d + 1) is the memory before the first of all
-- ranks' segments.
function memory.before(name, comm, k, v, start)
  return update[name](comm, feature(k:to(start.dtype)), v:to(start.dtype), start)
end

--- What queries (b, s, heads, r, d) read from memories (b, s, kv heads, d, d + 1): like the queries.
function memory.read(q, memories)
  local b, s, heads, rows, d = unpack(q.shape)
  local kv_heads = memories:size(3)
  local f = feature(q:to(memories.dtype)):reshape(b, s, kv_heads, heads / kv_heads * rows, d)
  local values, weight = unpack(f:matmul(memories):split({ d, 1 }, -1))
  return (values * inverse(weight)):view(b, s, heads, rows, d)
end

memory.UPDATES = { "linear", "delta" }

return memory
