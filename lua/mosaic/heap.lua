--- C views of tensors, and when the collector must run, which cannot see the bytes behind them.
--
-- A view is a pointer to a mosaic_tensor in a chunk of many. Whoever needs the tensor keeps the view; nobody
-- else does, as `views` is weak: what the collector has taken out of there is cleared in one sweep after each
-- of its cycles. (A finalizer for every tensor costs 0.3 us, and ends each trace that is being compiled.)
--
-- A full collection starts when tensors hold more than `limit` bytes: twice what survived the last one, or
-- twice what the last walks back began with and 64 MiB, but no more than three quarters of what was left of
-- the default device beyond what survived, and at least 64 MiB beyond. And it starts after a walk back that
-- left garbage: then all that was kept for it is some, too. (Each takes 3 ms, and those in the forward pass
-- found nothing: of 4 in a training step of 170 ms one is left.)
--
-- The process has one heap, as it has one library: modules that are loaded anew (busted does so for every
-- file) go on with it, or what the old ones left would never be found.
-- (Not so where ffi itself is another: it would not know the old one's types.)
local ffi = require "ffi"
local registry = debug.getregistry()
local known = registry["mosaic.heap"]
if known and known.ffi == ffi then return known end

local C = require "mosaic.ffi"

local rshift, band = bit.rshift, bit.band

local FLOOR, SHARE, FORGETTING = 64 * 2 ^ 20, 0.75, 0.9

local heap = { limit = FLOOR, ffi = ffi }
registry["mosaic.heap"] = heap

-- ---- views ------------------------------------------------------------------------------------------

ffi.cdef "void *mmap(void *place, size_t bytes, int access, int flags, int file, long offset);"

-- View i is chunks[i / CHUNK] + i % CHUNK. Chunks are no memory of Lua's: it would collect the later the more
-- of it there is, and then there would be more of it.
local CHUNK, SHIFT, MASK = 16384, 14, 16383
local READ_WRITE, PRIVATE_ANONYMOUS = 3, 0x22
local chunks = {}
local views = setmetatable({}, { __mode = "v" }) -- by number; nil: nobody has it any more, false: unused
local unused, count = {}, 0                      -- the numbers of `count` unused ones
local used = 0                                   -- views that have ever been given out
local due = false                                -- has the collector been round?

local function place(i)
  return chunks[rshift(i, SHIFT)] + band(i, MASK)
end

--- Takes back the views that nobody has any more.
local function sweep()
  due = false
  for i = 1, used do
    if views[i] == nil then
      C.mosaic_tensor_clear(place(i))
      count = count + 1
      views[i], unused[count] = false, i
    end
  end
end

--- When Lua ends, the tensors of a chunk give back what they hold; the chunk itself stays, as the finalizers
-- of others, which may run later, still have tensors in it. (Those that never were are left alone: to look at
-- all of them takes a short script longer than all else that it does.)
local function clear(chunk, first)
  for i = 0, math.min(CHUNK - 1, used - first) do C.mosaic_tensor_clear(chunk + i) end
end

local function add_chunk()
  local bytes = CHUNK * ffi.sizeof "mosaic_tensor"
  local chunk = ffi.C.mmap(nil, bytes, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
  if ffi.cast("intptr_t", chunk) == -1 then error "out of memory: no room for more tensors" end
  local number = rshift(used + 1, SHIFT)
  chunks[number] = ffi.gc(ffi.cast("mosaic_tensor *", chunk), function(c) clear(c, number * CHUNK) end)
end

--- A view that was never used.
local function new_view()
  if not chunks[rshift(used + 1, SHIFT)] then add_chunk() end
  used = used + 1
  return used
end

--- An empty view, to be filled by a C call.
function heap.view()
  if due then sweep() end
  local i = unused[count]
  if count > 0 then count = count - 1 else i = new_view() end
  local view = place(i)
  views[i] = view
  return view
end

--- The collector finds one of these in every cycle, and calls this when it has cleared `views`: between any
-- two steps of whatever is running, so that sweeping must wait.
getmetatable(newproxy(true)).__gc = function(proxy)
  due = true
  newproxy(proxy)
end

-- What Lua itself has is little beside tensors, and marking it takes longer than most operations that make
-- garbage: its own cycles begin when it has grown to four times what survived, not to twice.
collectgarbage("setpause", 400)

-- ---- bytes ------------------------------------------------------------------------------------------

heap.sweep = sweep

local stats = ffi.new "mosaic_memory_stats"
--- Bytes: after the last collection, after the last one that ended a walk back, and the most that a walk
-- began with lately.
local survived, rest, kept = 0, 0, 0

--- Bytes that the default device can still give to tensors.
local function room()
  local state = require "mosaic.state"
  if C.mosaic_memory_read(stats, state.current.device) ~= C.MOSAIC_OK then return 0 end
  return tonumber(stats.limit_bytes - stats.live_bytes)
end

--- Frees every tensor that is no longer reachable. Takes milliseconds.
function heap.collect()
  collectgarbage()
  sweep()
  survived, kept = tonumber(C.mosaic_memory_live()), FORGETTING * kept
  rest = math.min(rest, survived)
  local more = math.max(survived, 2 * kept + FLOOR - survived)
  heap.limit = survived + math.max(FLOOR, math.min(more, SHARE * room()))
end

--- The same of what finalizers could still see, too: each of a chain of them takes Lua another cycle.
function heap.collect_all()
  local idle, live = 0, nil
  while idle < 2 do
    heap.collect()
    local now = tonumber(C.mosaic_memory_live())
    idle = now == live and idle + 1 or 0
    live = now
  end
end

--- Called after every new tensor.
function heap.poll()
  if C.mosaic_memory_live() > heap.limit then heap.collect() end
end

--- Called before a walk back: nearly all that there is now is for it.
function heap.begin_walk()
  kept = math.max(kept, tonumber(C.mosaic_memory_live()))
end

--- Called after it. (One of many within another, as checkpoints make them, leaves too little.)
function heap.end_walk()
  if C.mosaic_memory_live() <= rest + math.max(FLOOR, kept / 4) then return end
  heap.collect()
  rest = survived
end

return heap
