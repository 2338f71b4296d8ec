--- Masks with several tensors, which travel one after the other: in the same order in every process.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

local comm = mosaic.comm.world()

describe("on MPI ranks a mask of documents, keep and bias", function()
  local x, ids = fill { 3, 4, 11, 3 }, {}
  for i = 1, 11 do ids[i] = math.floor(i / 5) end
  local mask = {
    documents = mosaic.tensor(ids, { dtype = "i64" }), keep = fill({ 4, 11, 11 }, { seed = 1 }):gt(-0.5),
    bias = fill({ 4, 11, 11 }, { seed = 2 }),
  }

  --- This rank's rows of a tensor with those of all ranks along `axis`.
  local function own(t, axis) return mosaic.shard(t, { axis = axis, comm = comm, layout = "contiguous" }) end

  local part = { documents = own(mask.documents, 1), keep = own(mask.keep, 2), bias = own(mask.bias, 2) }

  for _, strategy in ipairs { "ring", "heads", "switch" } do
    it("is exact under " .. strategy, function()
      local q = own(x, 3)
      local out = mosaic.attend(q, q, q, { strategy = strategy, comm = comm, mask = part })
      close(out, own(mosaic.sdpa(x, x, x, { mask = mask }), 3))
    end)
  end

  it("is exact in a layer that switches", function()
    local function new_layer(backend, switch_axis)
      return mosaic.MultiAxisAttention {
        embed_dim = 6, num_heads = 2, attention_axis = 2, dtype = "f64", generator = mosaic.generator(3),
        comm = backend ~= "local" and comm or nil, backend = backend, switch_axis = switch_axis,
        layout = "contiguous",
      }
    end
    local whole, layer, rows = new_layer "local", new_layer("switch", 1), fill { 3, 11, 6 }
    local masks = { mask = { documents = mask.documents, keep = mask.keep[1], bias = mask.bias[1] } }
    local parts = { mask = { documents = part.documents, keep = part.keep[1], bias = part.bias[1] } }
    close(layer:forward(own(rows, 2), parts), own(whole:forward(rows, masks), 2))
  end)
end)
