--- Small facts exchanged in one small collective: do the ranks agree, and what does each have?
local ffi = require "ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor"
local Comm = require "mosaic.comm.class"
local Request = require "mosaic.comm.request"

local BLOCK = 256 -- bytes per rank in the usual single exchange, its first 8 the length

--- Every rank's `count` bytes, as one C buffer of size * count bytes.
local function all_gather_bytes(comm, bytes, count)
  local x = create.empty { count, dtype = "u8", device = "cpu" }
  check.call("mosaic_tensor_write_bytes", x.c, bytes, count)
  local sizes, out = ffi.new("int64_t[?]", comm.size, count), Tensor.blank()
  for i = 0, comm.size - 1 do sizes[i] = count end
  Request.start(comm, nil, nil, "mosaic_comm_all_gather", out, x.c, 0, sizes, 0):wait()
  state.current.agreed_bytes = state.current.agreed_bytes + (comm.size - 1) * count
  local all = ffi.new("uint8_t[?]", comm.size * count)
  check.call("mosaic_tensor_read_bytes", all, out, comm.size * count)
  return all
end

--- One string of each rank (any lengths) as a list. One exchange when all fit a block, else two.
local function all_gather_strings(comm, text)
  local block = ffi.new("uint8_t[?]", BLOCK)
  ffi.cast("int64_t *", block)[0] = #text
  ffi.copy(block + 8, text, math.min(#text, BLOCK - 8))
  local all, longest, lengths = all_gather_bytes(comm, block, BLOCK), 0, {}
  for r = 1, comm.size do
    lengths[r] = tonumber(ffi.cast("int64_t *", all + (r - 1) * BLOCK)[0])
    longest = math.max(longest, lengths[r])
  end
  local stride, skip = BLOCK, 8
  if longest > BLOCK - 8 then
    local whole = ffi.new("uint8_t[?]", longest)
    ffi.copy(whole, text, #text)
    all, stride, skip = all_gather_bytes(comm, whole, longest), longest, 0
  end
  local strings = {}
  for r = 1, comm.size do strings[r] = ffi.string(all + (r - 1) * stride + skip, lengths[r]) end
  return strings
end

--- The same number of integers from each rank: a list of lists, rank 0's first.
function Comm:all_gather_list(list)
  local count = #check.kind("all_gather_list", "the list", list, "table")
  local own = ffi.new("int64_t[?]", count)
  for i = 1, count do own[i - 1] = check.integer("all_gather_list", ("entry %d"):format(i), list[i]) end
  local all = ffi.cast("int64_t *", all_gather_bytes(self, own, count * 8))
  local rows = {}
  for r = 1, self.size do
    rows[r] = {}
    for i = 1, count do rows[r][i] = tonumber(all[(r - 1) * count + i - 1]) end
  end
  return rows
end

--- A text of each rank, of any lengths, as a list: rank 0's first.
function Comm:all_gather_text(text)
  return all_gather_strings(self, check.kind("all_gather_text", "the text", text, "string"))
end

--- A value in words: 3, "ring", true, [4,8].
local function show(where, name, value)
  local kind = type(value)
  if kind == "table" then
    local list = {}
    for i, item in ipairs(value) do list[i] = tostring(item) end
    return "[" .. table.concat(list, ",") .. "]"
  elseif kind == "number" then
    return ("%.17g"):format(value)
  elseif kind ~= "string" and kind ~= "boolean" then
    check.fail("%s: agree: %s must be a number, string, boolean or list, got %s", where, name,
      check.show(value))
  end
  return tostring(value)
end

--- "name=value;..." in the order of the names, so that equal tables give equal texts.
local function encode(where, values)
  local names, parts = {}, {}
  check.kind(where, "what ranks agree on", values, "table")
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = name .. "\1" .. show(where, name, values[name]) end
  return table.concat(parts, "\2")
end

local function decode(text)
  local values = {}
  for name, value in text:gmatch "([^\1\2]+)\1([^\2]*)" do values[name] = value end
  return values
end

--- "shape: rank 0 [4,8], rank 1 [4,9]": every entry on which not all ranks have the same value.
local function differences(texts)
  local rows, names, found = {}, {}, {}
  for r, text in ipairs(texts) do
    rows[r] = decode(text)
    for name in pairs(rows[r]) do names[name] = true end
  end
  for name in pairs(names) do
    local shown, differs = {}, false
    for r, row in ipairs(rows) do
      differs = differs or row[name] ~= rows[1][name]
      shown[r] = ("rank %d %s"):format(r - 1, row[name] or "none")
    end
    if differs then found[#found + 1] = name .. ": " .. table.concat(shown, ", ", 1, math.min(#shown, 16)) end
  end
  table.sort(found)
  return table.concat(found, "; ")
end

--- "rank 1: why" of the ranks that sent the entry `error` (Comm:together); nil where none did.
local function failures(texts)
  local found = {}
  for r, text in ipairs(texts) do
    local reason = decode(text).error
    if reason then found[#found + 1] = ("rank %d: %s"):format(r - 1, reason) end
  end
  return #found > 0 and table.concat(found, "; ", 1, math.min(#found, 16)) or nil
end

--- What the ranks disagree on, or why some of them could not tell what they have.
local function refuse(where, texts)
  local reasons = failures(texts)
  if reasons then check.fail("%s", reasons) end
  check.fail("%s: ranks disagree on %s", where, differences(texts))
end

--- Raises on every rank unless all have the same values in `same`; names what differs and where.
-- `own` are integers that may differ. Both are tables { name = value } (values: numbers, strings,
-- booleans, lists of them). Returns a list, rank 0 first, of every rank's values of both.
function Comm:agree(where, same, own)
  check.kind("agree", "the name of the operation", where, "string")
  local mine = encode(where, same)
  local texts, owns = {}, {}
  for r, text in ipairs(all_gather_strings(self, mine .. "\3" .. encode(where, own or {}))) do
    texts[r], owns[r] = text:match "^([^\3]*)\3(.*)$"
  end
  for _, text in ipairs(texts) do
    if text ~= mine then refuse(where, texts) end
  end
  local rows = {}
  for r, text in ipairs(owns) do
    local row = {}
    for name, value in pairs(same) do row[name] = value end
    for name, value in pairs(decode(text)) do row[name] = tonumber(value) end
    rows[r] = row
  end
  return rows
end

--- Ranks choose a free number for the new communicator from what all had in use when the split began. So
-- a split that is under way must have its number before the next one begins.
local function wait_for_last_split()
  local last = state.current.splitting
  state.current.splitting = nil
  if last then last:wait() end
end

local function finish_split(call)
  local comm, out = call.comm, ffi.new "mosaic_comm *[1]"
  state.current.splitting = nil
  check.call("mosaic_comm_split_finish", out, comm.handle, call.table_c)
  return out[0] ~= nil and Comm.wrap(out[0], comm.host) or nil
end

--- A communicator of the ranks that give the same `color` (an integer >= 0; nil: none, returns nil), in
-- the order of `key` (default: the rank). Every rank of this communicator must call it. options: async.
function Comm:split(color, key, options)
  if color ~= nil then check.integer("split", "color", color, 0) end
  key = check.integer("split", "key", key or self.rank)
  options = check.options("split", options or {}, { "async" })
  wait_for_last_split()
  local call = { comm = self, table_c = Tensor.blank() }
  local request = Request.start(self, finish_split, call, "mosaic_comm_split_start", call.table_c,
    color or -1, key)
  state.current.splitting = request
  if options.async then return request end
  local function sent() return self:counters("all_gather").bytes_sent end -- other messages may be under way
  local before = sent()
  local result = request:wait()
  state.current.agreed_bytes = state.current.agreed_bytes + sent() - before
  return result
end

return Comm
