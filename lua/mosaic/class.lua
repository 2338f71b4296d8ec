--- Small callable classes: `local Linear = class("Linear", Module)`, then `Linear{...}`.
-- Calling the class makes an instance and passes the arguments to `:init`. Fields of a parent are
-- found through the class; `Class.super` is the parent, `Class.class_name` the name.

return function(name, parent)
  local Class = { class_name = name, super = parent }
  Class.__index = Class
  Class.__tostring = parent and parent.__tostring or function() return name end
  Class.__call = parent and parent.__call
  return setmetatable(Class, {
    __index = parent,
    __call = function(self, ...)
      local object = setmetatable({}, self)
      object:init(...)
      return object
    end,
  })
end
