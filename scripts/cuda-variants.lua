--- Compiles kernels of attention as they are when they are asked for on a GPU, by the plug-in's own code
--- with NVRTC, but without a GPU:
--
--   build/mosaic-lua scripts/cuda-variants.lua [architecture ...]    default: ARCHS; a quarter of an hour
--   build/mosaic-lua scripts/cuda-variants.lua --brief               each file once or twice; 20 seconds
--
-- The last line is `N passed, N failed`. Needs the CUDA plug-in and libnvrtc.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local mosaic = require "mosaic"

local ARCHS = { "sm_80", "sm_86", "sm_90a", "sm_100", "sm_120" }
local DTYPES = { f32 = 0, f64 = 1, bf16 = 2, f16 = 3 }
--- Head sizes that come compiled with the plug-in (the Makefile's VARIANTS), and others. Hopper's files
--- are for sm_90a alone. Masks with functions: `programs`.
local HALVES, ALL = { "bf16", "f16" }, { "f32", "bf16", "f16" }
local SOME, HOPPER = { 7, 24, 40, 64, 256 }, { 24, 32, 40, 48, 64, 80, 96, 112, 128 }
local KERNELS = {
  { file = "small.cu", heads = { 4, 24, 48 }, dtypes = ALL },
  { file = "plain_forward.cu", heads = { 64, 128, 256 }, dtypes = { "f32", "f64" }, programs = true },
  { file = "plain_backward.cu", heads = { 64, 128, 256 }, dtypes = { "f32", "f64" }, programs = true },
  { file = "forward.cu", heads = SOME, dtypes = ALL, programs = true },
  { file = "backward.cu", heads = SOME, dtypes = ALL, programs = true },
  { file = "hopper.cu", heads = HOPPER, dtypes = HALVES, arch = "sm_90a" },
  { file = "hopper_backward.cu", heads = HOPPER, dtypes = HALVES, arch = "sm_90a" },
}
--- arch, file, HEAD, dtype, with programs?
local BRIEF = {
  { "sm_80", "small.cu", 20, "f16" },
  { "sm_86", "plain_forward.cu", 64, "f32", true },
  { "sm_90a", "plain_forward.cu", 256, "f64", true },
  { "sm_120", "plain_backward.cu", 64, "f64", true },
  { "sm_80", "forward.cu", 40, "bf16" },
  { "sm_86", "forward.cu", 16, "f32", true },
  { "sm_120", "forward.cu", 24, "f16" },
  { "sm_80", "backward.cu", 16, "bf16", true },
  { "sm_100", "backward.cu", 40, "f32" },
  { "sm_90a", "backward.cu", 24, "f16" },
  { "sm_90a", "hopper.cu", 40, "bf16" },
  { "sm_90a", "hopper_backward.cu", 40, "f16" },
}

--- Functions in which every operation occurs.
local function functions()
  local numbers = { 0.5, 0.25, 2 }
  local function score(s, b, h, i, j)
    local x = math.abs(s) ^ 0.5 + math.sin(i) * math.cos(j) + math.exp(-math.abs(i - j)) - math.log(i + j)
    x = math.min(x, 4) + math.max(math.tanh(s) / b, -1) + math.sqrt(i) + numbers[h] + math.floor(s) % 7
    return (i == j or math.ceil(x) < 3) and x or -math.huge
  end
  local function keep(_, h, i, j)
    return j <= i and (i - j) % 3 ~= 1 or not (i < 7 * h) or numbers[j] == 2
  end
  return mosaic.program.score(score), mosaic.program.keep(keep)
end

--- The plug-in's function, once it has the core; that works without a GPU.
local function plugin()
  local path = os.getenv "MOSAIC_CUDA_LIB"
    or os.getenv("MOSAIC_LIB"):gsub("libmosaic%.so$", "libmosaic_cuda.so")
  ffi.cdef [[mosaic_status mosaic_cuda_compile(int64_t *bytes, const char *arch, const char *file, int head,
    int element, const mosaic_program *score, const mosaic_program *keep_if);]]
  pcall(mosaic.zeros, { 1, device = "cuda" })
  return ffi.load(path)
end

--- What an architecture is asked to compile: rows as in BRIEF.
local function all_of(archs)
  local list = {}
  for _, arch in ipairs(archs) do
    for _, kernel in ipairs(KERNELS) do
      for _, head in ipairs((kernel.arch or arch) == arch and kernel.heads or {}) do
        for _, dtype in ipairs(kernel.dtypes) do
          list[#list + 1] = { arch, kernel.file, head, dtype }
          if kernel.programs then list[#list + 1] = { arch, kernel.file, head, dtype, true } end
        end
      end
    end
  end
  return list
end

--- Compiles one, prints a line; true when that worked.
local function try(library, score, keep, arch, file, head, dtype, programs)
  local bytes = ffi.new "int64_t[1]"
  local status = library.mosaic_cuda_compile(bytes, arch, file, head, DTYPES[dtype],
    programs and score.c or nil, programs and keep.c or nil)
  local good = status == C.MOSAIC_OK
  print(("%-7s %-18s HEAD %3d %-4s %-8s  %s"):format(arch, file, head, dtype, programs and "programs" or "",
    good and tonumber(bytes[0]) .. " bytes" or "FAILED: " .. ffi.string(C.mosaic_last_error())))
  io.flush()
  return good
end

local function main(...)
  local library, score, keep = plugin(), functions()
  local list = ... == "--brief" and BRIEF or all_of(select("#", ...) > 0 and { ... } or ARCHS)
  local passed = 0
  for _, row in ipairs(list) do
    if try(library, score, keep, unpack(row, 1, 5)) then passed = passed + 1 end
  end
  print(("%d passed, %d failed"):format(passed, #list - passed))
  os.exit(passed == #list and 0 or 1)
end

main(...)
