--- Keys and values of a step's parcels to the ranks that need them, and their gradients back.
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local Schedule = require "mosaic.dilated.schedule"
local slices = require "mosaic.dilated.slices"

local Exchange = class("Exchange")

--- outgoing[r + 1], incoming[r + 1]: the parcels to and from rank r, and sent, received: their rows.
function Exchange:init(plan, step)
  self.comm, self.wire = plan.comm, plan.wire
  self.outgoing, self.sent, self.incoming, self.received = {}, {}, {}, {}
  for rank = 0, plan.comm.size - 1 do
    self.outgoing[rank + 1], self.sent[rank + 1] = Schedule.parcels(step, rank, plan.comm.rank)
    self.incoming[rank + 1], self.received[rank + 1] = Schedule.parcels(step, plan.comm.rank, rank)
  end
end

--- Calls body(parcel, its rows of x, a view (batch..., kv heads, rows, d)); x has all parcels along axis -2.
-- Views keep a buffer alive, so none is left to the collector: freed unless body returns true.
local function each(parcels, x, body)
  local at = 1
  for _, list in ipairs(parcels) do
    for _, parcel in ipairs(list) do
      local shape = x.shape
      shape[#shape - 1] = parcel.group.kv[3]
      table.insert(shape, #shape, parcel.cell.count)
      local part = x:narrow(-2, at, parcel.length)
      local rows = part:view(shape)
      part:free()
      if not body(parcel, rows) then rows:free() end
      at = at + parcel.length
    end
  end
end

--- Zeros for parcels with so many rows, of things like x (batch..., kv heads, rows, d).
local function packed(x, counts, dtype)
  local shape, total = x.shape, 0
  for _, count in ipairs(counts) do total = total + count end
  table.remove(shape, #shape - 2)
  shape[#shape - 1] = total
  shape.dtype, shape.device = dtype or x.dtype, x.device
  return create.zeros(shape)
end

local function swap(comm, x, sent, received, format)
  local request = comm:all_to_all(x, {
    split_axis = -2, concat_axis = -2, split_sizes = sent, concat_sizes = received, async = true,
    wire = format,
  })
  return request
end

function Exchange:send(x)
  local parcels = packed(x, self.sent)
  each(self.outgoing, parcels, function(parcel, rows)
    rows:copy_((slices.pick(slices.view(x, -3, parcel.group.kv), -2, parcel.cell.places)))
  end)
  local request = swap(self.comm, parcels, self.sent, self.received, self.wire)
  parcels:free() -- the message keeps what it needs
  return request
end

--- Starts moving k and v.
function Exchange:start(k, v)
  self.requests = { self:send(k), self:send(v) }
  return self
end

--- Waits for k and v: parcel.k and parcel.v of what this rank receives.
function Exchange:arrive()
  self.tensors = {}
  for i, name in ipairs { "k", "v" } do self:file(name, self.requests[i]:wait()) end
end

function Exchange:file(name, x)
  self.tensors[name] = x
  each(self.incoming, x, function(parcel, rows)
    parcel[name] = rows
    return true
  end)
end

--- Makes room for the gradients of what arrived, beside it.
function Exchange:make_gradients(dtype)
  for _, name in ipairs { "k", "v" } do
    local like = self.tensors[name]:unsqueeze(-3)
    self:file("d" .. name, packed(like, self.received, dtype))
    like:free()
  end
end

--- Starts sending the gradients home; returns a function that waits and adds them to dk and dv.
function Exchange:give_back(dk, dv)
  local tensors, requests = self.tensors, {}
  for i, name in ipairs { "dk", "dv" } do
    requests[i] = swap(self.comm, tensors[name], self.received, self.sent)
    self:drop(name)
  end
  return function()
    for i, target in ipairs { dk, dv } do
      local parcels = requests[i]:wait()
      each(self.outgoing, parcels, function(parcel, rows)
        slices.add(slices.view(target, -3, parcel.group.kv), -2, parcel.cell.places, rows)
      end)
      parcels:free()
    end
  end
end

--- What arrived as `name`, and its parcels' rows, are used up.
function Exchange:drop(name)
  for _, list in ipairs(self.incoming) do
    for _, parcel in ipairs(list) do
      parcel[name]:free()
      parcel[name] = nil
    end
  end
  self.tensors[name]:free()
end

return Exchange
