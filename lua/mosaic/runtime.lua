--- The process that Mosaic runs in: kernels, threads, memory.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local heap = require "mosaic.heap"
local state = require "mosaic.state"

local runtime = {}

function runtime.version() return ffi.string(C.mosaic_version()) end

--- The kernels in use: "scalar", "avx2" or "avx512" (MOSAIC_ISA asks for a narrower one).
function runtime.isa() return ffi.string(C.mosaic_isa()) end

--- How many threads one operation may use.
function runtime.threads() return C.mosaic_threads() end

function runtime.set_threads(count)
  check.call("mosaic_set_threads", check.integer("set_threads", "count", count, 1))
end

--- Bytes held by tensors: { live_bytes, peak_bytes, cached_bytes, limit_bytes, allocations }, and
-- rank_live_bytes, rank_peak_bytes: what this rank holds of them where ranks are virtual.
-- Unreachable tensors that have not been collected yet count as live.
function runtime.memory()
  local stats = ffi.new "mosaic_memory_stats"
  C.mosaic_memory_read(stats)
  return {
    live_bytes = tonumber(stats.live_bytes), peak_bytes = tonumber(stats.peak_bytes),
    cached_bytes = tonumber(stats.cached_bytes), limit_bytes = tonumber(stats.limit_bytes),
    allocations = tonumber(stats.allocations),
    rank_live_bytes = tonumber(C.mosaic_memory_account_live(state.current.account)),
    rank_peak_bytes = tonumber(C.mosaic_memory_account_peak(state.current.account)),
  }
end

--- From here on, peak_bytes and this rank's rank_peak_bytes count anew.
function runtime.reset_peak_memory()
  C.mosaic_memory_reset_peak()
  C.mosaic_memory_account_reset_peak(state.current.account)
end

--- Tensors together never hold more (default: MOSAIC_MEMORY_LIMIT, else the machine's memory).
function runtime.set_memory_limit(bytes)
  check.call("mosaic_memory_set_limit", check.integer("set_memory_limit", "bytes", bytes, 1))
end

--- Frees unreachable tensors now, and what is cached for later ones.
function runtime.collect()
  heap.collect()
  C.mosaic_memory_trim()
end

return runtime
