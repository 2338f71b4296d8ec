--- Errors that point at the user's line, and the checks that every public function shares.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local heap = require "mosaic.heap"

local check = {}

local OK, ENOMEM = C.MOSAIC_OK, C.MOSAIC_ENOMEM
local library = debug.getinfo(1, "S").source:match "^(.*)check%.lua$"

--- "file:line: " of the innermost caller outside the library, in this or a suspended coroutine; "" when
-- there is none.
function check.where(thread)
  for level = thread and 0 or 3, 200 do
    local info = thread and debug.getinfo(thread, level, "Sl") or not thread and debug.getinfo(level, "Sl")
    if not info then return "" end
    if info.what ~= "C" and info.source:sub(1, #library) ~= library then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
  end
  return ""
end

--- Raises the formatted message at the user's line.
function check.fail(format, ...)
  local text = select("#", ...) > 0 and format:format(...) or format
  error(check.where() .. text, 0)
end

local function recover(status, name, ...)
  if status == ENOMEM then
    jit.flush() -- a compiled trace keeps the functions in it, and what they close over
    heap.collect_all()
    C.mosaic_memory_trim()
    status = C[name](...)
  end
  if status ~= OK then check.fail("%s", ffi.string(C.mosaic_last_error())) end
end

--- Calls the C function `name`. Out of memory: collects garbage, gives back what is cached, and tries once
-- more. A failure is an error at the user's line.
function check.call(name, ...)
  local status = C[name](...)
  if status ~= OK then recover(status, name, ...) end
end

--- Turns a status that was obtained elsewhere into an error at the user's line.
function check.status(status)
  if status ~= OK then check.fail("%s", ffi.string(C.mosaic_last_error())) end
end

check.nearest = require "mosaic.nearest"

--- Fails when `options` has a named entry that `known` (a list of names) lacks.
-- Entries 1, 2, ... are positional and not looked at.
function check.options(where, options, known)
  if type(options) ~= "table" then
    check.fail("%s: expected a table of options, got %s", where, type(options))
  end
  for name in pairs(options) do
    if type(name) == "string" then
      local found = false
      for i = 1, #known do found = found or known[i] == name end
      if not found then
        local near = check.nearest(name, known)
        check.fail("%s: unknown option '%s'%s (known: %s)", where, name,
          near and (", did you mean '%s'?"):format(near) or "", table.concat(known, ", "))
      end
    end
  end
  return options
end

--- A required or optional entry of a type; returns the value or the default.
function check.option(where, options, name, kind, default)
  local value = options[name]
  if value == nil then
    if default == nil then check.fail("%s: option '%s' (%s) is missing", where, name, kind) end
    return default
  end
  local ok = type(value) == kind or (kind == "integer" and type(value) == "number" and value % 1 == 0)
  if not ok then
    check.fail("%s: option '%s' must be of type %s, got %s", where, name, kind, check.show(value))
  end
  return value
end

local SHOWN = { table = "a table", ["function"] = "a function", userdata = "userdata", cdata = "cdata" }

--- A value as it should appear in a message: 3, "ring", true, f32 [4,8], a Linear, a table.
function check.show(value)
  local kind, Class = type(value), getmetatable(value)
  if kind == "string" then return ("%q"):format(value) end
  if kind == "number" then return ("%.14g"):format(value) end
  if kind ~= "table" or not Class or not Class.class_name then return SHOWN[kind] or tostring(value) end
  return Class.class_name == "Tensor" and value:describe() or "a " .. Class.class_name
end

--- Fails unless the value is of the kind that type() names.
function check.kind(where, what, value, kind)
  if type(value) ~= kind then
    check.fail("%s: %s must be a %s, got %s", where, what, kind, check.show(value))
  end
  return value
end

--- A function, or what can be called like one: a module, a class.
function check.callable(where, what, value)
  local meta = type(value) ~= "function" and getmetatable(value)
  if type(value) ~= "function" and not (type(meta) == "table" and meta.__call) then
    check.fail("%s: %s must be a function, got %s", where, what, check.show(value))
  end
  return value
end

--- One of a list of names.
function check.one_of(where, what, value, names)
  for i = 1, #names do
    if names[i] == value then return value end
  end
  local near = type(value) == "string" and check.nearest(value, names)
  check.fail("%s: %s %s is not one of %s%s", where, what, check.show(value), table.concat(names, ", "),
    near and (" (did you mean '%s'?)"):format(near) or "")
end

--- Lua's axis (1-based, negative from the end) as a 0-based one.
function check.axis(where, axis, ndim)
  if type(axis) ~= "number" or axis % 1 ~= 0 then
    check.fail("%s: an axis is an integer, got %s", where, check.show(axis))
  elseif axis == 0 then
    check.fail("%s: axis 0 does not exist: axes count from 1, or from -1 backwards", where)
  elseif axis > ndim or axis < -ndim then
    check.fail("%s: axis %d is out of range for %d dims", where, axis, ndim)
  end
  return axis > 0 and axis - 1 or axis + ndim
end

--- An integer, at least `minimum` where that is given.
function check.integer(where, what, value, minimum)
  if type(value) ~= "number" or value % 1 ~= 0 or (minimum and value < minimum) then
    check.fail("%s: %s must be an integer%s, got %s", where, what,
      minimum and (" of at least %d"):format(minimum) or "", check.show(value))
  end
  return value
end

return check
