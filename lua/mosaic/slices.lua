--- All ranks' keys and values, some key/value heads at a time, the next ones on their way meanwhile.
--
--   Slices(comm, plan, sizes, count):each(k, v, function(slice, keys, values) ... end)
--
-- Keys that no query sees stay where they are. A slice has { kv, q: first head and number of heads, plan: for
-- this rank's queries against all keys, in a communicator of its own }.
local class = require "mosaic.class"
local comms = require "mosaic.comm"
local mask_rows = require "mosaic.mask_rows"
local partition = require "mosaic.partition"
local visibility = require "mosaic.visibility"

local Slices = class("Slices")

function Slices:init(comm, plan, sizes, count)
  local keys, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local everyone = {}
  for rank = 0, comm.size - 1 do everyone[rank + 1] = rank end
  self.comm, self.count, self.group = comm, count, sizes.heads / sizes.kv_heads
  self.heads = partition.new { rows = sizes.kv_heads, ranks = count }
  self.range, self.rows = ranges[comm.rank + 1], keys:row_counts()
  self.plan = plan:with {
    comm = comms.alone(), queries = plan.queries:only { comm.rank }, keys = keys:united { everyone },
  }
end

--- The heads { first, count } of x, which may have no such axis.
function Slices.part(x, axis, heads)
  return x.ndim >= -axis and x:narrow(axis, unpack(heads)) or x
end

--- Slice i, from 0.
function Slices:slice(i)
  local piece = self.heads:pieces(i)[1]
  local q = { (piece[1] - 1) * self.group + 1, piece[3] * self.group }
  return {
    kv = { piece[1], piece[3] }, q = q,
    plan = self.plan:with {
      mask = mask_rows.part(self.plan.mask, -3, unpack(q)), head_from = (self.plan.head_from or 1) + q[1] - 1,
    },
  }
end

--- Starts to gather slice i of everyone's tensors; the returned function waits for them. Rows come first
-- on the way, so that they are stored where they arrive: kernels take any strides.
function Slices:gather(tensors, i)
  local requests = {}
  for j, x in ipairs(i < self.count and tensors or {}) do
    local own = Slices.part(x, -3, self:slice(i).kv):narrow(-2, unpack(self.range)):transpose(1, -2)
    requests[j] = self.comm:all_gather(own, 1, self.rows, { async = true, wire = self.plan.wire })
  end
  return function()
    local views = {}
    for j, request in ipairs(requests) do
      local arrived = request:wait()
      views[j] = arrived:transpose(1, -2)
      arrived:free()
    end
    return unpack(views)
  end
end

--- Calls body(slice, keys, values) for every slice.
function Slices:each(k, v, body)
  local arriving = self:gather({ k, v }, 0)
  for i = 0, self.count - 1 do
    local keys, values = arriving()
    arriving = self:gather({ k, v }, i + 1)
    body(self:slice(i), keys, values)
    keys:free()
    values:free()
  end
end

--- Starts to sum a slice's gradients of keys to their owners; the returned function waits, and puts this
-- rank's share into `whole`, like all of its own keys.
function Slices:keys_home(dk, slice, whole)
  local request = self.comm:reduce_scatter(dk, -2, self.rows, { async = true })
  return function()
    Slices.part(whole, -3, slice.kv):narrow(-2, unpack(self.range)):copy_(request:wait())
    dk:free()
  end
end

return Slices
