--- The measured rows as a table in Markdown: what cuda/MEASURED.md holds.
local report = {}

local function number(value)
  if type(value) ~= "number" then return "-" end
  return value >= 1000 and ("%.0f"):format(value) or ("%.3g"):format(value)
end

--- "flash 380, cudnn 410, flex: why not"; errors: of out, dq, dk, dv.
local function peers(row)
  local names, parts = {}, {}
  for name in pairs(row.peers or {}) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local value = row.peers[name]
    if type(value) == "table" then
      parts[i] = ("%s %.2g %.2g %.2g %.2g"):format(name, value.out[1], value.dq[1], value.dk[1], value.dv[1])
    else
      parts[i] = type(value) == "number" and name .. " " .. number(value)
        or ("%s: %s"):format(name, value:sub(1, 60))
    end
  end
  return table.concat(parts, "; ")
end

local function own(row)
  if not row.own or not row.own.out then return number(row.value) end
  local e = row.own
  return ("%s (%.2g %.2g %.2g %.2g)"):format(number(row.value), e.out, e.dq, e.dk, e.dv)
end

local function verdict(row)
  if row.why and not row.ratio then return row.why end
  if row.met == nil then return "" end
  return row.met and "met" or "missed"
end

local function cell(text) return (tostring(text):gsub("|", "\\|")) end

--- header: lines above the table.
function report.markdown(header, rows)
  local lines = { header, "",
    "| | Mosaic | unit | peers | ratio | goal | |", "| --- | --- | --- | --- | --- | --- | --- |" }
  for _, row in ipairs(rows) do
    local ratio = row.ratio and ("%.2f x %s"):format(row.ratio, row.rival) or ""
    lines[#lines + 1] = ("| %s | %s | %s | %s | %s | %s | %s |"):format(cell(row.name), own(row),
      row.unit or "", cell(peers(row)), ratio, row.goal or "", cell(verdict(row)))
  end
  return table.concat(lines, "\n") .. "\n"
end

--- How many goals were met, how many missed or not measured, and how many rows failed.
function report.count(rows)
  local met, missed, failed = 0, 0, 0
  for _, row in ipairs(rows) do
    if row.met then met = met + 1 elseif row.goal or row.met == false then missed = missed + 1 end
    if row.failed then failed = failed + 1 end
  end
  return met, missed, failed
end

return report
