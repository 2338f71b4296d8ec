--- JSON: `json.encode(value)` and `json.decode(text)`.
--
-- Encoding is deterministic: keys are sorted, and numbers read back the same. A table with entries
-- 1..n is a list, one with string keys an object; {} is an object and `json.list{}` an empty list.
-- `json.null` is null, both ways. NaN and infinities are refused.
local check = require "mosaic.check"
local marks = require "mosaic.data.json.marks"

return {
  null = marks.null,
  --- Marks a table as a list, so that it stays one when it is empty.
  list = function(t) return setmetatable(check.kind("json.list", "the list", t, "table"), marks.List) end,
  encode = require "mosaic.data.json.encode",
  decode = require "mosaic.data.json.decode",
}
