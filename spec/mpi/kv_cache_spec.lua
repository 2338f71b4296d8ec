local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

describe("KVCache on MPI ranks", function()
  it("decodes after a sharded prompt, and after a truncation, as one rank does", function()
    local comm = mosaic.comm.world()
    local mask = { causal = true, window = { 9, 0 } }
    local q, k = fill { 1, 4, 31, 8 }, fill({ 1, 2, 31, 8 }, { seed = 1 })
    local v = fill({ 1, 2, 31, 8 }, { seed = 2 })
    local out, lse = mosaic.sdpa(q, k, v, { mask = mask })
    local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = 8, dtype = "f64", mask = mask }
    local how = { axis = 3, comm = comm, layout = "zigzag" }
    local function share(x) return mosaic.shard(x:narrow(3, 1, 23), how) end
    cache:append(share(k), share(v), { sharded = true, layout = "zigzag" })
    close((cache:attend(share(q), { sharded = true })), share(out))
    for _ = 1, 2 do
      for row = 24, 31 do
        cache:append(k:narrow(3, row, 1), v:narrow(3, row, 1))
        local o, l = cache:attend(q:narrow(3, row, 1))
        close(o, out:narrow(3, row, 1))
        close(l, lse:narrow(3, row, 1))
      end
      cache:truncate(23)
    end
  end)
end)
