--- Keys and values travel round a ring of places, and every rank joins what it sees to its result.
--
--   rotate(comm, q, k, v, plan, options) -> out, lse
--
-- A place is a rank of `comm`, and what it computes with the block that is there is an inner strategy:
-- by default attention of its own queries. In a hierarchy a place is a node: comm then has the ranks
-- of equal number in all nodes, inner_comm those of this node, groups the nodes' ranks.
-- options: inner ("local"), inner_comm (this rank alone), groups ({0}, {1}, ...), directions (1), place
-- (comm.rank). A rank without keys, now and later, has nothing to send and needs no comm, only its place.
--
-- While a block is used the next one is on its way. Backward sends the blocks round again, each followed
-- by its gradient in f32, which goes home from the last place that saw the block; a place's share needs
-- only the final lse and delta. So memory is O(n), whatever the number of places. Between ranks of one node
-- blocks are read in place (nearby.lua).
-- (Liu et al. 2023, "Ring attention with blockwise transformers"; the way of the blocks: course.lua.)
local attention = require "mosaic.attention"
local comms = require "mosaic.comm"
local Course = require "mosaic.course"
local Function = require "mosaic.autograd.function"
local Nearby = require "mosaic.nearby"
local partial = require "mosaic.partial"
local places = require "mosaic.autograd.places"
local strategy = require "mosaic.strategy"
local travel = require "mosaic.travel"
local visibility = require "mosaic.visibility"
local wire = require "mosaic.wire"

local Q, BIAS = 2, 5 -- their places among the arguments of the Function below
local BLOCK, GRADIENT, HOME, LANE = 0, 4, 6, 8 -- tags of what travels; each lane has its own

local Rotation = {}
Rotation.__index = Rotation

local function new_rotation(comm, plan, options)
  local groups = options.groups or {}
  for rank = 0, options.groups and -1 or comm.size - 1 do groups[rank + 1] = { rank } end
  local place = options.place or comm.rank
  local own = groups[place + 1]
  local inner_comm = options.inner_comm or comms.alone()
  return setmetatable({
    comm = comm, place = place, inner_comm = inner_comm, number = inner_comm.rank + 1,
    inner = strategy.get(options.inner or "local"),
    single = not options.groups,
    plan = plan:with { queries = plan.queries:only(own) },
    own_keys = plan.keys:only(own),
    sees_own = visibility.any(plan.mask, plan.queries:joined(own), plan.keys:joined(own)),
    course = Course(plan, groups, options.directions),
  }, Rotation)
end

--- The inner strategy's plan for keys of this placement. Places that differ in width have keys on ranks that
-- all of them have.
function Rotation:against(keys)
  if keys.ranks > self.inner_comm.size then keys = keys:first(self.inner_comm.size) end
  return self.plan:with { comm = self.inner_comm, keys = keys }
end

--- Calls body(leg, lane, owner, previous place, next place) for every lane's block of this step.
function Rotation:each_lane(step, body)
  local course, place = self.course, self.place
  for lane, direction in ipairs(course.directions) do
    local owner = course:owner(place, direction, step)
    body(course:leg(lane, owner), lane, owner, (place - direction) % course.size,
      (place + direction) % course.size)
  end
end

--- How blocks come from ranks of the same node; own = { k, v }.
function Rotation:nearby(own)
  return self.single and not self.plan.wire and Nearby(self, own) or Nearby.none
end

--- Passes on the blocks of `step` and returns a function that waits for those of the next one. What was
-- sent before must have arrived: no rank runs ahead and piles up blocks.
function Rotation:pass(blocks, own, step, sent, nearby)
  local arriving, format = {}, self.plan.wire
  travel.wait(sent)
  self:each_lane(step, function(leg, lane, owner, _, next_place)
    local range = leg.ranges[self.number]
    if step < leg.last and nearby.reads(owner, next_place) then return nearby:count(range[2]) end
    if step == 0 and leg.last > 0 then
      blocks[lane] = {}
      for i, x in ipairs(own) do blocks[lane][i] = x:narrow(-2, range[1], range[2]):contiguous() end
    end
    if step < leg.last then
      travel.send(self.comm, blocks[lane], next_place, LANE * lane + BLOCK, sent, format)
    end
  end)
  self:each_lane(step + 1, function(leg, lane, owner, previous)
    local range, tag = leg.ranges[self.number], LANE * lane + BLOCK
    if step < leg.last and nearby.reads(owner, self.place) then
      arriving[lane] = function() return nearby:block(owner, range) end
    elseif step < leg.last then
      arriving[lane] = travel.receive(self.comm, own, range[2], previous, tag, nil, format)
    end
  end)
  return function()
    for lane in ipairs(self.course.directions) do
      travel.free(blocks[lane])
      blocks[lane] = arriving[lane] and arriving[lane]()
    end
  end
end

--- out, lse over all places' keys; records nothing.
function Rotation:forward(q, k, v)
  local sent, blocks, nearby, out, lse = {}, {}, self:nearby { k, v }, nil, nil
  local function join(block, keys)
    local o, l = partial.forward(self.inner, self.inner_comm, q, block[1], block[2], self:against(keys))
    if not out then
      out, lse = o, l
      return
    end
    attention.merge_(out, lse, o, l)
    travel.free { o, l }
  end
  for step = 0, self.course.size - 1 do
    local arrive = step < self.course.size - 1 and self:pass(blocks, { k, v }, step, sent, nearby)
    if step == 0 and self.sees_own then join({ k, v }, self.own_keys) end
    self:each_lane(step, function(leg, lane)
      if leg.seen[step] then join(blocks[lane], leg.keys) end
    end)
    if arrive then arrive() end
  end
  if not out then join({ k, v }, self.own_keys) end -- nothing is seen
  travel.wait(sent)
  for _, last in pairs(blocks) do travel.free(last) end
  nearby:close()
  return out, lse
end

--- This place's share of a block's gradient, joined to what came along with the block.
local function add(gradient, share)
  if not gradient then return share end
  for i, x in ipairs(share) do gradient[i]:add_(x) end
  travel.free(share)
  return gradient
end

--- The gradients of this rank's own block that come home, lane by lane: waiting functions.
function Rotation:await_home(like, dtype)
  local home = {}
  self:each_lane(0, function(leg, lane)
    if leg.last == 0 then return end
    local last_place = (self.place + self.course.directions[lane] * leg.last) % self.course.size
    local rows = leg.ranges[self.number][2]
    home[lane] = travel.receive(self.comm, like, rows, last_place, LANE * lane + HOME, dtype)
  end)
  return home
end

--- A travelled block's gradient, taken over from the place before, added to and handed on or sent home.
function Rotation:pass_gradient(step, q, blocks, g, handed)
  self:each_lane(step, function(leg, lane, owner, previous, next_place)
    if not leg.first or step < leg.first or step > leg.last then return end
    local block, gradient, tag = blocks[lane], nil, LANE * lane + GRADIENT
    if step > leg.first then
      gradient = travel.receive(self.comm, block, block[1]:size(-2), previous, tag, g.dq.dtype)
    end
    local share = leg.seen[step] and { partial.backward(self.inner, self.inner_comm, q, block[1], block[2],
      self:against(leg.keys), g) }
    gradient = gradient and gradient()
    travel.wait(handed[lane])
    if share then gradient = add(gradient, share) end
    if step < leg.last then
      travel.send(self.comm, gradient, next_place, tag, handed[lane])
    else
      travel.send(self.comm, gradient, owner, LANE * lane + HOME, handed[lane])
    end
    travel.free(gradient)
  end)
end

--- The share of this rank's own keys in their gradients.
function Rotation:own_share(q, k, v, g)
  if self.sees_own then
    return { partial.backward(self.inner, self.inner_comm, q, k, v, self:against(self.own_keys), g) }
  end
  local given = g.places or {}
  if g.places then g.places = { g.dq } end
  local function zeros(x, place) return place and place:zero_() or x:zeros_like { dtype = g.dq.dtype } end
  return { zeros(k, given[2]), zeros(v, given[3]) }
end

--- dk, dv of this rank's keys; adds to g.dq and g.dbias (partial.lua).
function Rotation:backward(q, k, v, g)
  local sent, handed, blocks, own = {}, { {}, {} }, {}, { k, v } -- handed on, by lane
  local home, mine, nearby = self:await_home(own, g.dq.dtype), nil, self:nearby(own)
  for step = 0, self.course.size - 1 do
    local arrive = step < self.course.size - 1 and self:pass(blocks, own, step, sent, nearby)
    if step == 0 then
      mine = self:own_share(q, k, v, g)
    else
      self:pass_gradient(step, q, blocks, g, handed)
    end
    if arrive then arrive() end
  end
  self:each_lane(0, function(leg, lane)
    local range = leg.ranges[self.number]
    for i, x in ipairs(home[lane] and home[lane]() or {}) do
      mine[i]:narrow(-2, range[1], range[2]):add_(x)
      x:free()
    end
  end)
  travel.wait(sent)
  travel.wait(handed[1])
  travel.wait(handed[2])
  nearby:close()
  if g.places then partial.clear(g) end -- nothing is seen
  return unpack(mine)
end

local recorded = Function("rotate", {
  collective = true,
  forward = function(ctx, rotation, q, k, v)
    local out, lse = rotation:forward(q, k, v)
    ctx.rotation = rotation
    for name, t in pairs { q = q, k = k, v = v, out = out, lse = lse } do ctx:save(name, t) end
    return out, lse
  end,
  backward = function(ctx, dout, dlse)
    local bias = ctx.needs[BIAS] and ctx.rotation.plan.mask.bias or nil
    local g = partial.gradients(ctx.q, ctx.out, ctx.lse, bias, dout, dlse,
      places(ctx.node, Q, 3, ctx.out.dtype))
    local dk, dv = ctx.rotation:backward(ctx.q, ctx.k, ctx.v, g)
    return nil, g.dq, dk, dv, g.dbias
  end,
})

--- Bytes that this rank sends forward, the inner strategy's included; nil where that does not say.
function Rotation:volume(sizes)
  local course = self.course
  local bytes = strategy.volume(self.inner, self:against(self.own_keys), sizes)
  if not bytes then return nil end
  for step = 1, course.size - 1 do
    self:each_lane(step, function(leg)
      if leg.seen[step] then bytes = bytes + strategy.volume(self.inner, self:against(leg.keys), sizes) end
    end)
  end
  local rows = course:rows_sent(self.place, self.number)
  return bytes + 2 * rows * sizes.batch * sizes.kv_heads * wire.bytes(self.plan.wire, sizes.d, sizes.bytes)
end

local OPTIONS = { "inner", "inner_comm", "groups", "directions", "place" }

return setmetatable({
  --- out, lse without a record, for a strategy that moves the queries, too.
  forward = function(comm, q, k, v, plan, options)
    return new_rotation(comm, plan, options or {}):forward(q, k, v)
  end,

  --- dk, dv for a strategy's `backward`: the same rotation as a share of a greater result.
  backward = function(comm, q, k, v, plan, g, options)
    return new_rotation(comm, plan, options or {}):backward(q, k, v, g)
  end,

  --- For a strategy's `volume`; the communicators need rank and size only.
  volume = function(comm, plan, sizes, options)
    return new_rotation(comm, plan, options or {}):volume(sizes)
  end,
}, {
  __call = function(_, comm, q, k, v, plan, options)
    options = require "mosaic.check".options("rotate", options or {}, OPTIONS)
    comms.Comm.check_comm("rotate", comm)
    return recorded(new_rotation(comm, plan, options), q, k, v, plan.mask.bias)
  end,
})
