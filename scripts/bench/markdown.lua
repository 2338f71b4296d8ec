--- Rows as a table in Markdown, as the README has it: rows of one name are one line, their variants, values
-- and ratios separated by slashes.

local function number(value)
  local format = value >= 100 and "%.0f" or value >= 10 and "%.1f" or value >= 0.1 and "%.2f" or "%.2g"
  return format:format(value)
end

--- f of each, with slashes; nothing where f says nothing.
local function joined(list, f)
  local parts = {}
  for _, entry in ipairs(list) do parts[#parts + 1] = f(entry) end
  return table.concat(parts, " / ")
end

--- Lists of rows that have a name in common, in the order in which the names first occur.
local function families(rows)
  local list, by_name = {}, {}
  for _, row in ipairs(rows) do
    local family = by_name[row.name]
    if not family then
      family = {}
      by_name[row.name], list[#list + 1] = family, family
    end
    family[#family + 1] = row
  end
  return list
end

--- "d = 24", "d = 64" -> "d = 24 / 64"
local function variants(family)
  local seen
  return joined(family, function(row)
    if not row.variant then return nil end
    local what, value = row.variant:match "^(.- = )(.*)$"
    if what and what == seen then return value end
    seen = what
    return row.variant
  end)
end

local function rivals_of(row)
  return row.rivals or (row.peer and { { name = row.peer, value = row.peer_value } }) or {}
end

--- "torch: 76 / 122; onnxruntime: 84 / 123"
local function peers(family)
  local names, values = {}, {}
  for _, row in ipairs(family) do
    for _, rival in ipairs(rivals_of(row)) do
      if not values[rival.name] then names[#names + 1], values[rival.name] = rival.name, {} end
      table.insert(values[rival.name], rival.value)
    end
  end
  for i, name in ipairs(names) do names[i] = name .. ": " .. joined(values[name], number) end
  return table.concat(names, "; ")
end

local function line(family)
  local first, which = family[1], variants(family)
  local name = which ~= "" and first.name .. ", " .. which or first.name
  if first.note then name = name .. " (" .. first.note .. ")" end
  local ratios = joined(family, function(row) return row.ratio and ("%.2f"):format(row.ratio) end)
  local values = joined(family, function(row) return number(row.value) end)
  return ("| %s | %s %s | %s | %s |"):format(name, values, first.unit, peers(family), ratios)
end

return function(rows)
  local lines = { "| | Mosaic | peer | ratio |", "| --- | --- | --- | --- |" }
  for _, family in ipairs(families(rows)) do lines[#lines + 1] = line(family) end
  return table.concat(lines, "\n") .. "\n"
end
