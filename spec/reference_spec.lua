--- `make reference` on small files of our own: it must accept the truth and notice everything else.
local dense = require "spec.support.dense"
local files = require "spec.support.files"
local fill = require "spec.support.fill"
local infini = require "spec.support.infini"
local mosaic = require "mosaic"
local program = require "spec.support.program"

local json = mosaic.data.json

local function documents(n)
  local ids = {}
  for i = 1, n do ids[i] = math.floor(i / 4) end
  return ids
end

local function keep_from(first, n)
  local keep = {}
  for i = 1, n do keep[i] = i > first and 1 or 0 end
  return mosaic.tensor(keep, { dtype = "u8" }):view(1, 1, n, 1)
end

local RESULTS = { "out", "lse", "dq", "dk", "dv" }

--- Every kind with its parameters and its mask for the dense truth.
local KINDS = {
  { "full", {}, {}, { Nq = 5, Nk = 9 } },
  { "full", {}, {}, { Nq = 6, Nk = 1 } },
  { "causal", {}, { causal = true }, { Hq = 4, Hkv = 2 } },
  { "window", { window = 2 }, { window = 2 }, {} },
  { "causal_window", { window = 3 }, { causal = true, window = 3 }, {} },
  { "prefix", { prefix = 4 }, { prefix = 4 }, { B = 2 } },
  { "documents", { documents = documents(11) }, { documents = documents(11) }, {} },
  { "documents_causal", { documents = documents(11) }, { causal = true, documents = documents(11) }, {} },
  { "alibi_causal", {}, { causal = true, alibi = { 2 ^ -4, 2 ^ -8 } }, {} },
  { "empty_rows", { first = 3 }, { causal = true, keep = keep_from(3, 11) }, {} },
}

local function f64(values, shape)
  return mosaic.tensor(values, { dtype = "f64" }):view(shape)
end

--- Adds case NAME with its inputs, results and parameters to tensors and metadata.
local function add_case(tensors, metadata, name, row)
  local p = { B = 1, Hq = 2, Hkv = 2, Nq = 11, Nk = 11, D = 4, kind = row[1] }
  for key, value in pairs(row[2]) do p[key] = value end
  for key, value in pairs(row[4]) do p[key] = value end
  local gain = p.gain or 1
  local base = fill({ p.B, p.Hq, p.Nq, p.D }, { seed = 1 }):to "f32":to "f64" * gain
  local q, dout = base:to "f32", fill(base.shape, { seed = 2, dtype = "f32" })
  local k = fill({ p.B, p.Hkv, p.Nk, p.D }, { seed = 3, dtype = "f32" })
  local v = fill(k.shape, { seed = 4, dtype = "f32" })
  local truth = dense.attention(base, k, v, { mask = row[3] })
  local g = dense.gradients(base, k, v, dout:flat(), nil, { mask = row[3] })
  local results = { q = q, k = k, v = v, dout = dout, out = f64(truth.out, q.shape),
    lse = f64(truth.lse, { p.B, p.Hq, p.Nq }), dq = f64(g.dq, q.shape), dk = f64(g.dk, k.shape),
    dv = f64(g.dv, k.shape) }
  for suffix, t in pairs(results) do tensors[name .. "." .. suffix] = t end
  metadata[name] = json.encode(p)
end

--- A new folder with one file.
local function folder_with(tensors, metadata)
  local folder = files.path "reference"
  assert(os.execute("mkdir " .. folder) == 0)
  mosaic.save(folder .. "/own.safetensors", tensors, metadata)
  return folder
end

local function reference(folder)
  return program("scripts/reference.lua " .. folder)
end

describe("the reference check", function()
  it("accepts every kind of attention case", function()
    local tensors, metadata = {}, {}
    for i, row in ipairs(KINDS) do add_case(tensors, metadata, ("%02d_%s"):format(i, row[1]), row) end
    add_case(tensors, metadata, "gain", { "full", { gain = 30 }, {}, {} })
    local run = reference(folder_with(tensors, metadata))
    assert.matches(("%d within bounds, 0 failed"):format(#KINDS + 1), run.out)
    local strategies = run.out:match "strategies: ([^\n]*)"
    for _, name in ipairs {
      "local", "ring", "composed", "gather", "heads", "hierarchical", "mesh2d", "rshard", "switch",
    } do
      assert.truthy((strategies .. ","):find(name .. ",", 1, true), name .. " is not among " .. strategies)
    end
    assert.equal(0, run.status)
    for i, row in ipairs(KINDS) do
      assert.matches(("own/%02d_%s +f64 .- of 1%%.0e%%-10 .-f32 .- ok"):format(i, row[1]), run.out)
    end
  end)

  it("notices one wrong value in any result, a NaN and a wrong shape", function()
    local tensors, metadata = {}, {}
    for _, name in ipairs(RESULTS) do
      add_case(tensors, metadata, name, KINDS[3])
      local t = tensors[name .. "." .. name]:clone()
      local corner = t.shape
      corner[#corner + 1] = t:get(unpack(corner)) + 1e-8
      t:set(unpack(corner))
      tensors[name .. "." .. name] = t
    end
    add_case(tensors, metadata, "nan", KINDS[3])
    tensors["nan.dv"] = tensors["nan.dv"]:clone()
    tensors["nan.dv"]:set(1, 1, 1, 1, 0 / 0)
    add_case(tensors, metadata, "shape", KINDS[3])
    tensors["shape.lse"] = tensors["shape.lse"]:view(1, 2, 2, 11)
    local run = reference(folder_with(tensors, metadata))
    assert.equal(1, run.status)
    assert.matches("0 within bounds, 7 failed", run.out)
    for _, name in ipairs(RESULTS) do
      assert.matches(("own/%s +f64 .-%%(%s, .-FAILED"):format(name, name), run.out)
    end
  end)

  it("compares Infini-attention with its sequential definition", function()
    local case, tensors = { segment = 4, update = "delta" }, {}
    for i, name in ipairs { "q", "k", "v", "dout" } do
      case[name] = fill({ 2, 11, 3 }, { seed = i, dtype = "f32" })
    end
    case.beta = fill({ 2 }, { seed = 5, dtype = "f32" })
    local truth = infini(case)
    for _, name in ipairs { "q", "k", "v", "dout", "beta" } do tensors["delta." .. name] = case[name] end
    for _, name in ipairs { "out", "dq", "dk", "dv" } do
      tensors["delta." .. name] = f64(truth[name], case.q.shape)
    end
    tensors["delta.dbeta"], tensors.segment = f64(truth.dbeta, { 2 }), mosaic.tensor({ 4 }, { dtype = "i64" })
    local folder = folder_with(tensors, {})
    assert.matches("own/delta +f64 .- of 1%.0e%-10 .-f32 .- ok\n1 within bounds", reference(folder).out)
    tensors["delta.dbeta"]:set(2, truth.dbeta[2] + 1e-8)
    mosaic.save(folder .. "/own.safetensors", tensors)
    assert.matches("own/delta +f64 .-%(dbeta, .-FAILED", reference(folder).out)
  end)

  it("refuses what it does not know", function()
    local tensors, metadata = {}, {}
    add_case(tensors, metadata, "fine", KINDS[3])
    add_case(tensors, metadata, "odd", { "diagonal", {}, {}, {} })
    local run = reference(folder_with(tensors, metadata))
    assert.equal(1, run.status)
    assert.matches("own/odd +error: attention of kind diagonal is not known", run.out)
    run = reference(folder_with({ x = mosaic.ones { 1 } }))
    assert.equal(1, run.status)
    assert.matches("own%.safetensors: no case that this check knows", run.out)
    assert.equal(1, reference("/nowhere").status)
  end)
end)
