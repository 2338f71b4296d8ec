--- Labels of any kind as class numbers: sorted, numbers by value and other texts by their letters.
local mosaic = require "mosaic"
local fail = require "support.fail"

local Labels = mosaic.class "Labels"

--- texts: the labels of the train rows as strings. Where all of them are numbers, "1" and "1.0" are the same.
function Labels:init(texts)
  self.is_numeric = true
  for _, text in ipairs(texts) do self.is_numeric = self.is_numeric and tonumber(text) ~= nil end
  self.names, self.numbers = {}, {}
  local first = {}
  for _, text in ipairs(texts) do
    local key = self:key(text)
    if not first[key] then
      first[key] = text
      self.names[#self.names + 1] = text
    end
  end
  table.sort(self.names, function(a, b) return self:key(a) < self:key(b) end)
  for class, name in ipairs(self.names) do self.numbers[self:key(name)] = class end
end

function Labels:key(text)
  return self.is_numeric and tonumber(text) or text
end

--- How many classes there are.
function Labels:count()
  return #self.names
end

--- The class numbers (from 1) of a list of texts; nil where a text is none of the known labels.
function Labels:encode(texts)
  local list = {}
  for i, text in ipairs(texts) do
    local key = self:key(text)
    list[i] = key ~= nil and self.numbers[key] or false
  end
  return list
end

--- Fails unless the classes fit a model: at least 2 of them, at most `outputs`.
function Labels:check_fit(where, outputs)
  local count = self:count()
  if count < 2 then
    fail("%s: all train rows have the label '%s'; at least 2 classes are needed", where,
      self.names[1] or "")
  elseif count > outputs then
    fail("%s: %d classes (%s), but the model can tell apart %d", where, count,
      table.concat(self.names, ", ", 1, math.min(count, 8)) .. (count > 8 and ", ..." or ""), outputs)
  end
end

return Labels
