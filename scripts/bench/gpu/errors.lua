--- Errors of attention against float64, beside those of torch on the same operands.
--
-- The truth is Mosaic's CPU kernel in f64. An error is the norm of the difference over the norm of the
-- truth; a row's value is the largest of out, dq, dk, dv. In bf16 it is a multiple of the error of torch's
-- flash backend, at most 2; in f32 it is at most 1e-5, whatever torch's is.
local json = require "mosaic.data.json"
local measure = require "gpu.measure"
local mosaic = require "mosaic"

local RESULTS = { "out", "dq", "dk", "dv" }
local KINDS = {
  bf16 = { backend = "flash", most = 2, relative = true, unit = "x flash's" },
  f32 = { backend = "efficient", most = 1e-5, unit = "of the norm" },
}

local function attend(q, k, v, dout, mask)
  local out, lse = mosaic.attention.forward(q, k, v, { mask = mask })
  dout = dout:to(out.dtype)
  local delta = mosaic.attention.delta(dout, out)
  local dq, dk, dv = mosaic.attention.backward(dout, lse, delta, q, k, v, { mask = mask })
  return { out = out, dq = dq, dk = dk, dv = dv }
end

--- Operands that the dtype holds exactly, and the true results, all in f64 on the CPU.
local function truth(case)
  local t = {}
  for _, name in ipairs { "q", "k", "v", "dout" } do
    local x = mosaic.randn { 1, case.heads, case.n, case.d, device = "cpu" }
    t[name] = x:to(case.dtype):to "f64"
  end
  local result = attend(t.q, t.k, t.v, t.dout, case.mask)
  for _, name in ipairs(RESULTS) do t["true_" .. name] = result[name] end
  return t
end

local function norm(x) return math.sqrt((x * x):sum():item()) end

local function own_errors(case, t)
  local device, x = mosaic.default_device(), {}
  for _, name in ipairs { "q", "k", "v", "dout" } do
    x[name] = t[name]:to { dtype = case.dtype, device = device }
  end
  local got, errors = attend(x.q, x.k, x.v, x.dout, case.mask), {}
  for _, name in ipairs(RESULTS) do
    local expected = t["true_" .. name]
    errors[name] = norm(got[name]:to { dtype = "f64", device = "cpu" } - expected) / norm(expected)
  end
  return errors
end

--- Of each result { norm's, largest element's }, or nil and why not.
local function peer_errors(case, t)
  local path = os.tmpname()
  mosaic.save(path, t)
  local answer = json.decode(measure.options.peer:ask(("errors %s %s %s %s"):format(
    case.kind.backend, case.dtype, case.mask and "causal" or "none", path)))
  os.remove(path)
  return answer.errors, answer.why
end

--- The largest of own errors, or of their ratios to the peer's, and whether none is too large: NaN is.
local function largest(case, own, theirs)
  local worst, met = 0, true
  for _, name in ipairs(RESULTS) do
    local value = case.kind.relative and own[name] / theirs[name][1] or own[name]
    worst, met = math.max(worst, value), met and value <= case.kind.most
  end
  return worst, met
end

local function row_of(case)
  local t, theirs, why = truth(case)
  local row = { unit = case.kind.unit, peers = {}, own = own_errors(case, t) }
  if measure.options.peer then theirs, why = peer_errors(case, t) end
  row.peers[case.kind.backend] = theirs or why
  if theirs or not case.kind.relative then row.value, row.met = largest(case, row.own, theirs) end
  return row
end

return function(sizes)
  for _, dtype in ipairs { "bf16", "f32" } do
    for _, d in ipairs { 24, 64, 128 } do
      for _, mask in ipairs { "none", "causal" } do
        local case = {
          dtype = dtype, d = d, n = sizes.n / 8, heads = 2, kind = KINDS[dtype],
          mask = mask == "causal" and { causal = true } or nil,
        }
        measure.check(("errors %s, 2 x %d, d %d, %s"):format(dtype, case.n, d, mask), function()
          return row_of(case)
        end)
      end
    end
  end
end
