--- What the nanoTabPFN specs share: the reference model, a table of irregular numbers, largest differences.
local mosaic = require "mosaic"
local NanoTabPFN = require "nanotabpfn.model"
local fill = require "spec.support.fill"
local model_file = require "nanotabpfn.model_file"

local support = {}

local SMALL = { embed_dim = 16, num_heads = 2, mlp_hidden = 24, num_layers = 2 }

--- The published size with the reference weights.
function support.reference_model(options)
  return model_file.load("spec/golden/nanotabpfn_weights.safetensors", options)
end

--- A small model with weights that depend on nothing but `seed`.
function support.small_model(options)
  local all = { generator = mosaic.generator(options.seed or 1) }
  for name, value in pairs(SMALL) do all[name] = value end
  for name, value in pairs(options) do
    if name ~= "seed" then all[name] = value end
  end
  return NanoTabPFN(all)
end

--- x (tables, rows, features) and y (tables, rows) of 0 and 1, f64, the same every time.
function support.table(tables, rows, features, seed)
  local x = fill({ tables, rows, features }, { seed = seed or 1 }) * 3
  local y = fill({ tables, rows }, { seed = (seed or 1) + 100 }):gt(0):to "f64"
  y:slice(2, 1, 1):fill_(0) -- both classes among the first two rows
  y:slice(2, 2, 2):fill_(1)
  return x, y
end

--- The largest |a - b| over the elements; NaN stays NaN.
function support.distance(a, b)
  return (a:to "f64" - b:to "f64"):abs():max():item()
end

--- Fails unless a and b are within `bound` of each other (times the largest |b| when relative).
function support.near(a, b, bound, relative)
  local scale = relative and b:to "f64":abs():max():item() or 1
  local distance = support.distance(a, b)
  if not (distance <= bound * scale) then
    error(("differs by %.3g, more than %.3g"):format(distance, bound * scale), 2)
  end
end

--- The call must raise an error that contains the text; its place is in the example, the library's user.
function support.fails(text, body)
  local ok, message = pcall(body)
  assert(not ok, "no error was raised; expected: " .. text)
  local found = tostring(message):find(text, 1, true)
  assert(found, ("expected %q in the error %q"):format(text, tostring(message)))
end

return support
