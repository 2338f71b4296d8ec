--- The process that Mosaic runs in: kernels, threads, memory.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local devices = require "mosaic.device"
local heap = require "mosaic.heap"
local state = require "mosaic.state"

local runtime = {}

function runtime.version() return ffi.string(C.mosaic_version()) end

--- The kernels in use: "scalar", "avx2", "avx512", "amx" or "neon" (MOSAIC_ISA asks for a narrower one).
function runtime.isa() return ffi.string(C.mosaic_isa()) end

--- How many threads one operation may use.
function runtime.threads() return C.mosaic_threads() end

function runtime.set_threads(count)
  check.call("mosaic_set_threads", check.integer("set_threads", "count", count, 1))
end

local PRECISIONS = { f32 = C.MOSAIC_PRECISION_F32, tf32 = C.MOSAIC_PRECISION_TF32 }

--- How products of f32 matrices are made on devices with units for it: as "f32" (the default), or as
-- "tf32", operands rounded to 11 bits, which is several times as fast. MOSAIC_TF32=1 is the same as
-- set_matmul_precision "tf32".
function runtime.set_matmul_precision(precision)
  check.one_of("set_matmul_precision", "precision", precision, { "f32", "tf32" })
  C.mosaic_set_matmul_precision(PRECISIONS[precision])
end

function runtime.matmul_precision()
  return C.mosaic_matmul_precision() == PRECISIONS.tf32 and "tf32" or "f32"
end

--- Bytes held by the tensors of a device (default: the default device): { live_bytes, peak_bytes,
-- cached_bytes, limit_bytes, free_bytes, allocations }, and rank_live_bytes, rank_peak_bytes: what this rank
-- holds, on all devices, where ranks are virtual. Unreachable tensors that have not been collected yet count
-- as live; free is what nobody uses of all that the device has.
function runtime.memory(of)
  local stats = ffi.new "mosaic_memory_stats"
  heap.sweep()
  check.call("mosaic_memory_read", stats, devices.resolve("memory", of))
  return {
    live_bytes = tonumber(stats.live_bytes), peak_bytes = tonumber(stats.peak_bytes),
    cached_bytes = tonumber(stats.cached_bytes), limit_bytes = tonumber(stats.limit_bytes),
    free_bytes = tonumber(stats.free_bytes), allocations = tonumber(stats.allocations),
    rank_live_bytes = tonumber(C.mosaic_memory_account_live(state.current.account)),
    rank_peak_bytes = tonumber(C.mosaic_memory_account_peak(state.current.account)),
  }
end

--- From here on, a device's peak_bytes and this rank's rank_peak_bytes count anew.
function runtime.reset_peak_memory(of)
  heap.sweep()
  check.call("mosaic_memory_reset_peak", devices.resolve("reset_peak_memory", of))
  C.mosaic_memory_account_reset_peak(state.current.account)
end

--- A device's tensors together never hold more (default: MOSAIC_MEMORY_LIMIT for the CPU, else all the
-- memory that the device has).
function runtime.set_memory_limit(bytes, of)
  check.call("mosaic_memory_set_limit", check.integer("set_memory_limit", "bytes", bytes, 1),
    devices.resolve("set_memory_limit", of))
end

--- Frees unreachable tensors now, and what is cached for later ones. LuaJIT's traces, which keep functions
-- that they were compiled for and so what these close over, are made anew from here on.
function runtime.collect()
  jit.flush()
  heap.collect_all()
  C.mosaic_memory_trim()
end

return runtime
