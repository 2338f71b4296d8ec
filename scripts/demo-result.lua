--- The last step of the demonstration: result.json and plot.png from what training and evaluation left.
--   mosaic-lua scripts/demo-result.lua FOLDER SECONDS STEPS
-- STEPS: what training was asked for. Fails when the model has not learned what it must (see GATES), or,
-- where the time limit cut training off before it could learn all of that, when its loss does not fall.
package.path = (arg[0]:match "^(.*)scripts/[^/]*$" or "../") .. "examples/?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local json = mosaic.data.json

local GATES = { auc = 0.90, last_loss = 0.56, fall = 0.08 }
local WINDOW = 50 -- steps that the first and the last loss are the mean of

local folder, seconds, wanted = arg[1], tonumber(arg[2]), tonumber(arg[3])

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

--- The lines of metrics.jsonl: those of steps, and those of the held-out tables.
local function read_metrics()
  local steps, held_out = {}, {}
  for line in read(folder .. "/metrics.jsonl"):gmatch "[^\n]+" do
    local entry = json.decode(line)
    local list = entry.loss and steps or held_out
    list[#list + 1] = entry
  end
  return steps, held_out
end

local function mean_loss(steps, from, to)
  local sum = 0
  for i = from, to do sum = sum + steps[i].loss end
  return sum / (to - from + 1)
end

--- step, loss, its running mean, AUC of the step's tables as a running mean
local function step_rows(steps)
  local rows, loss, auc = {}, nil, nil
  for i, entry in ipairs(steps) do
    loss = loss and 0.95 * loss + 0.05 * entry.loss or entry.loss
    auc = auc and 0.95 * auc + 0.05 * entry.auc or entry.auc
    rows[i] = ("%d %g %g %g"):format(entry.step, entry.loss, loss, auc)
  end
  return table.concat(rows, "\n") .. "\n"
end

local function held_out_rows(held_out)
  local rows = {}
  for i, entry in ipairs(held_out) do rows[i] = ("%d %g"):format(entry.step, entry.held_out_auc) end
  return table.concat(rows, "\n") .. "\n"
end

local PLOT = [[
set terminal pngcairo size 900,500
set output "%s/plot.png"
set xlabel "training step"
set ylabel "loss"
set y2label "AUC"
set ytics nomirror
set y2tics
set grid
set key below
plot "%s/steps.dat" using 1:2 with lines linecolor rgb "#c0d0e0" title "loss of a step", \
     "%s/steps.dat" using 1:3 with lines linewidth 2 linecolor rgb "#2060a0" title "loss, running mean", \
     "%s/steps.dat" using 1:4 axes x1y2 with lines linewidth 2 linecolor rgb "#e0a060" \
         title "AUC, running mean", \
     "%s/held_out.dat" using 1:2 axes x1y2 with linespoints linewidth 2 linecolor rgb "#c04020" \
         title "AUC, held-out tables"
]]

local function plot(steps, held_out)
  write(folder .. "/steps.dat", step_rows(steps))
  write(folder .. "/held_out.dat", held_out_rows(held_out))
  write(folder .. "/plot.gp", (PLOT:gsub("%%s", folder)))
  local drawn = os.execute("gnuplot " .. folder .. "/plot.gp") == 0
  for _, name in ipairs { "steps.dat", "held_out.dat", "plot.gp" } do os.remove(folder .. "/" .. name) end
  return drawn
end

local function result(steps, figures)
  local window = math.min(WINDOW, #steps)
  return {
    auc = figures.model.auc, accuracy = figures.model.accuracy,
    knn_auc = figures.knn.auc, logistic_auc = figures.logistic.auc,
    first_loss = mean_loss(steps, 1, window), last_loss = mean_loss(steps, #steps - window + 1, #steps),
    steps = #steps, tables = steps[#steps].tables, ranks = steps[#steps].ranks, seconds = seconds,
  }
end

local SLOW = [[
Training was cut off by its time limit after %d of %d steps. So far: %s.
That is not all that the model can learn, and no fault of the build: a quieter machine, or more time
(scripts/demo --time 1800), gives it all of its steps.]]

--- After all steps the gates hold, or the demonstration fails. After fewer the loss must have come down.
local function check_gates(r, drawn)
  local fall, cut_off = r.first_loss - r.last_loss, r.steps < wanted
  print(("loss %.3f -> %.3f in %d steps, %d tables, %d s; %s"):format(r.first_loss, r.last_loss, r.steps,
    r.tables, r.seconds, drawn and folder .. "/plot.png shows it" or "no plot: gnuplot failed"))
  if r.auc >= GATES.auc and r.last_loss <= GATES.last_loss and fall >= GATES.fall then return end
  local text = "AUC %.3f (after all steps at least %.2f), loss %.3f (at most %.2f), "
    .. "fallen by %.3f (at least %.2f)"
  text = text:format(r.auc, GATES.auc, r.last_loss, GATES.last_loss, fall, GATES.fall)
  local falls = fall > 0 or r.steps < 2 * WINDOW and fall == fall -- too few to tell
  if not (cut_off and falls) then
    fail("the model has not learned enough in %d steps: %s", r.steps, text)
  end
  print(SLOW:format(r.steps, wanted, text))
end

local steps, held_out = read_metrics()
local drawn = plot(steps, held_out)
local r = result(steps, json.decode(read(folder .. "/evaluation.json")))
write(folder .. "/result.json", json.encode(r) .. "\n")
check_gates(r, drawn)
