--- Queries travel round a ring of ranks; keys and values stay home.
--
--   rotate_queries.attend(comm, q, k, v, plan) -> out, lse
--
-- A block of queries goes from rank to rank as far as the last one whose keys it sees, the next block being
-- on its way meanwhile. What was found for it, (out, lse), follows one computation behind, is merged with at
-- each rank and goes home from the last; at home it meets what the owner found. In backward the block is q,
-- dout, lse and delta, and dq follows, while dk and dv stay. Memory O(n). Better than sending keys where
-- queries are few: cross attention. keep and bias as tensors would have to travel too: use `rotate` for them.
local attention = require "mosaic.attention"
local comms = require "mosaic.comm"
local partial = require "mosaic.partial"
local strategy = require "mosaic.strategy"
local travel = require "mosaic.travel"
local visibility = require "mosaic.visibility"

local BLOCK, FOLLOWER, HOME = 0, 4, 6 -- tags of what travels

local Journey = {}
Journey.__index = Journey

local function new_journey(comm, plan)
  return setmetatable({ comm = comm, plan = plan, legs = {} }, Journey)
end

--- At which steps a rank's queries see keys: { seen[step], first, last (0: they stay at home) }.
function Journey:leg(owner)
  local leg, plan, size = self.legs[owner], self.plan, self.comm.size
  if leg then return leg end
  leg = { seen = {}, last = 0 }
  for step = 1, size - 1 do
    local place = (owner + step) % size
    leg.seen[step] = visibility.any(plan.mask, plan.queries:pieces(owner), plan.keys:pieces(place))
    if leg.seen[step] then leg.first, leg.last = leg.first or step, step end
  end
  self.legs[owner] = leg
  return leg
end

--- The plan of owner's queries against this rank's keys.
function Journey:against(owner)
  return self.plan:with {
    comm = comms.alone(), queries = self.plan.queries:only { owner },
    keys = self.plan.keys:only { self.comm.rank },
  }
end

--- Starts receiving tensors like these of owner's rows; returns a function that waits.
function Journey:receive(like, owner, from, tag)
  return travel.receive(self.comm, like, self.plan.queries:count(owner), from, tag)
end

--- What this rank finds for owner's block, joined to what follows the block, and sent on or home.
function Journey:visit(step, owner, block, like, find, join)
  local leg, rank, size = self:leg(owner), self.comm.rank, self.comm.size
  if not leg.first or step < leg.first or step > leg.last then return end
  local arriving = step > leg.first and self:receive(like, owner, (rank - 1) % size, FOLLOWER)
  local found = leg.seen[step] and find(owner, block)
  local follower = arriving and arriving() or found
  if arriving and found then
    join(follower, found)
    travel.free(found)
  end
  if step < leg.last then
    travel.send(self.comm, follower, (rank + 1) % size, FOLLOWER, self.sent)
  else
    travel.send(self.comm, follower, owner, HOME, self.sent)
  end
  travel.free(follower)
end

--- Waits for what was sent in the step before: nobody runs so far ahead that unread messages pile up.
function Journey:settle()
  travel.wait(self.sent_before or {})
  self.sent, self.sent_before = {}, self.sent
end

--- Sends all blocks round. find(owner, block) gives what this rank has to say about a block, a list of
-- tensors; join(a, b) joins two such lists in a. Returns everyone's about this rank's own block.
function Journey:travel(own, find, join)
  local rank, size, block = self.comm.rank, self.comm.size, own
  local mine, home
  self.sent = {}
  for step = 0, size - 1 do
    local owner, coming, arriving = (rank - step) % size, (rank - step - 1) % size, nil
    if step < self:leg(owner).last then
      travel.send(self.comm, block, (rank + 1) % size, BLOCK, self.sent)
    end
    if step < self:leg(coming).last then arriving = self:receive(own, coming, (rank - 1) % size, BLOCK) end
    if step == 0 then
      mine = find(rank, own)
      local last = self:leg(rank).last
      home = last > 0 and self:receive(mine, rank, (rank + last) % size, HOME)
    else
      self:visit(step, owner, block, mine, find, join)
      travel.free(block)
    end
    block = arriving and arriving()
    self:settle()
  end
  if home then join(mine, home()) end
  self:settle()
  return mine
end

local function forward(comm, q, k, v, plan)
  local journey = new_journey(comm, plan)
  local mine = journey:travel({ q }, function(owner, block)
    local out, lse = attention.forward(block[1], k, v, journey:against(owner):block(0))
    return { out, lse:unsqueeze(-1) }
  end, function(a, b) attention.merge_(a[1], a[2]:squeeze(-1), b[1], b[2]:squeeze(-1)) end)
  return mine[1], mine[2]:squeeze(-1)
end

--- Adds the tensors of a list to those of another one, which may be empty.
local function add(sums, shares)
  for i, share in ipairs(shares) do
    if sums[i] then sums[i]:add_(share) else sums[i] = share end
  end
end

local function backward(comm, q, k, v, plan, g)
  local journey, inner, keys = new_journey(comm, plan), strategy.get "local", {}
  local own = { q, g.dout, g.lse:unsqueeze(-1), g.delta:unsqueeze(-1) }
  local mine = journey:travel(own, function(owner, block)
    local share = {
      dout = block[2], lse = block[3]:squeeze(-1), delta = block[4]:squeeze(-1),
      dq = block[1]:zeros_like { dtype = g.dq.dtype },
    }
    local against = journey:against(owner)
    add(keys, { partial.backward(inner, against.comm, block[1], k, v, against, share) })
    return { share.dq }
  end, add)
  g.dq:add_(mine[1])
  return unpack(keys)
end

--- How many rows of queries a rank sends on, and how many of results.
local function rows_sent(journey, rank)
  local queries, results, size = 0, 0, journey.comm.size
  for step = 0, size - 1 do
    local owner = (rank - step) % size
    local leg, count = journey:leg(owner), journey.plan.queries:count(owner)
    if step < leg.last then queries = queries + count end
    if leg.first and step >= leg.first and step <= leg.last then results = results + count end
  end
  return queries, results
end

return {
  attend = partial.recorded("rotate_queries", forward, backward),
  backward = backward,
  rows_sent = function(plan) return rows_sent(new_journey(plan.comm, plan), plan.comm.rank) end,
}
