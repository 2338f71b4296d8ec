--- Draws curves with gnuplot: draw("loss.png", settings, curves) -> was it drawn?
-- settings: gnuplot's commands before the plot, such as labels of axes. curves: a list of
-- { title =, style = what comes after "with", axes = "x1y2" or nil, { x, y }, ... }.

local HEAD = [[
set terminal pngcairo size 900,500
set output "%s"
set grid
set key above
]]

--- A block of data that a script can hold.
local function block(number, curve)
  local lines = { ("$curve%d << end"):format(number) }
  for _, point in ipairs(curve) do lines[#lines + 1] = ("%g %g"):format(point[1], point[2]) end
  lines[#lines + 1] = "end"
  return table.concat(lines, "\n")
end

local function reference(number, curve)
  local axes = curve.axes and "axes " .. curve.axes .. " " or ""
  return ('$curve%d using 1:2 %swith %s title "%s"'):format(number, axes, curve.style, curve.title)
end

return function(path, settings, curves)
  local blocks, references = {}, {}
  for i, curve in ipairs(curves) do blocks[i], references[i] = block(i, curve), reference(i, curve) end
  local script = path .. ".gp"
  local file = assert(io.open(script, "w"))
  file:write(HEAD:format(path), settings, "\n", table.concat(blocks, "\n"), "\nplot ",
    table.concat(references, ", \\\n  "), "\n")
  file:close()
  local drawn = os.execute("gnuplot '" .. script:gsub("'", "'\\''") .. "'") == 0
  os.remove(script)
  return drawn
end
