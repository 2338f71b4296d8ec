--- The cases in a folder of safetensors files, told by the names of their tensors; `P.` is the case's
-- name, and may be missing where a file has only one:
--   P.q, P.k, P.v, P.dout, P.out       attention; metadata[P] is a JSON object with its parameters
--   the same with P.beta               infini; "segment" is its parameter or a tensor of the file
--   P.x, P.y, P.train_rows, P.logits   nanotabpfn: one forward and backward pass
--   P.x, P.y, P.train_rows, P.loss     training: several steps, one batch each
-- A file with decoder.linear1.weight holds the weights of a model.
local mosaic = require "mosaic"

local cases = {}

--- The safetensors files of a folder, sorted: { name, tensors, metadata }, ...
local function read_folder(folder)
  local files = {}
  local listing = io.popen("ls -1 '" .. folder:gsub("'", "'\\''") .. "'")
  for name in listing:lines() do
    if name:match "%.safetensors$" then
      local tensors, metadata = mosaic.load(folder .. "/" .. name)
      files[#files + 1] = { name = name, tensors = tensors, metadata = metadata }
    end
  end
  listing:close()
  return files
end

local SIZES = { "embed_dim", "num_heads", "mlp_hidden", "num_layers", "num_outputs" }

--- The model in a file: { sizes, state }; nil when it has none.
local function model_of(file)
  if not file.tensors["decoder.linear1.weight"] then return nil end
  local sizes = {}
  for _, name in ipairs(SIZES) do
    sizes[name] = tonumber(file.metadata[name])
      or error(("%s: its metadata lacks '%s'"):format(file.name, name), 0)
  end
  return { sizes = sizes, state = file.tensors }
end

--- The model that a file's cases belong to: its own, that of STEM_weights.safetensors, or the only one.
local function find_model(file, files)
  local own, stem = model_of(file), file.name:match "^(.*)_[^_]*$"
  if own then return own end
  local found, count = nil, 0
  for _, other in ipairs(files) do
    local model = model_of(other)
    if model and stem and other.name == stem .. "_weights.safetensors" then return model end
    if model then found, count = model, count + 1 end
  end
  return count == 1 and found or nil
end

--- What the tensors with a prefix ("" or "P.") are, or nil.
local function kind_of(has)
  if has "q" and has "k" and has "v" and has "dout" and has "out" then
    return has "beta" and "infini" or "attention"
  elseif has "x" and has "y" and has "train_rows" then
    return has "logits" and "nanotabpfn" or has "loss" and "training" or nil
  end
end

--- All prefixes of names that end in x or q, sorted.
local function prefixes(tensors)
  local list = {}
  for name in pairs(tensors) do
    local prefix = name:match "^(.*%.)[xq]$" or name:match "^([xq])$" and ""
    if prefix then list[#list + 1] = prefix end
  end
  table.sort(list)
  return list
end

local function make_case(file, files, prefix, kind)
  local name = prefix:gsub("%.$", "")
  local metadata = file.metadata[name ~= "" and name or "case"]
  return {
    kind = kind, name = name,
    title = file.name:gsub("%.safetensors$", "") .. (name ~= "" and "/" .. name or ""),
    get = function(suffix) return file.tensors[prefix .. suffix] end,
    --- A tensor that all cases of the file have in common.
    shared = function(suffix) return file.tensors[suffix] end,
    --- Tensors whose names start with prefix .. start, by the rest of the name.
    all = function(start)
      local found = {}
      for full, t in pairs(file.tensors) do
        if full:sub(1, #prefix + #start) == prefix .. start then
          found[full:sub(#prefix + #start + 1)] = t
        end
      end
      return found
    end,
    parameters = metadata and mosaic.data.json.decode(metadata) or {},
    model = function()
      return find_model(file, files) or error(("%s: no weights belong to it"):format(file.name), 0)
    end,
  }
end

local function add_cases(list, file, files)
  local count = 0
  for _, prefix in ipairs(prefixes(file.tensors)) do
    local kind = kind_of(function(suffix) return file.tensors[prefix .. suffix] ~= nil end)
    if kind then
      count = count + 1
      list[#list + 1] = make_case(file, files, prefix, kind)
    end
  end
  return count
end

--- All cases of a folder, and a list of what is wrong with it.
function cases.find(folder)
  local files, list, problems = read_folder(folder), {}, {}
  for _, file in ipairs(files) do
    if add_cases(list, file, files) == 0 and not model_of(file) then
      problems[#problems + 1] = file.name .. ": no case that this check knows"
    end
  end
  if #files == 0 then problems[1] = folder .. ": no safetensors files" end
  return list, problems
end

return cases
