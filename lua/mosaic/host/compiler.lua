--- -j COMMAND, as luajit has it: "on", "off" or "flush", or a module of LuaJIT's with its arguments: "v",
-- "dump=+rs,file", "p". Does it, or returns why it cannot.
local COMMANDS = { on = jit.on, off = jit.off, flush = jit.flush }

local function arguments_of(text)
  local list = {}
  for word in text:gmatch "[^,]+" do list[#list + 1] = word end
  return list
end

return function(command)
  local name, rest = command:match "^([^=]*)=?(.*)$"
  if COMMANDS[name] and rest == "" then return COMMANDS[name]() end
  local loaded, module = pcall(require, "jit." .. name)
  if not loaded or type(module) ~= "table" or not module.start then
    return ("-j: expected on, off, flush or a module of LuaJIT's that is installed, got '%s'"):format(command)
  end
  local started, wrong = pcall(module.start, unpack(arguments_of(rest)))
  if not started then return ("-j %s: %s"):format(name, tostring(wrong)) end
end
