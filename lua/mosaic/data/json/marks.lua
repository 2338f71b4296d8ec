--- What Lua values cannot say by themselves: null, and that a table is a list.
return {
  null = setmetatable({}, { __tostring = function() return "null" end }),
  List = {},
}
