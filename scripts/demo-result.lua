--- The last step of the demonstration: result.json and plot.png from what training and evaluation left.
--   mosaic-lua scripts/demo-result.lua FOLDER SECONDS STEPS
-- STEPS: what training was asked for. Fails when the model has not learned what it must (see GATES), or,
-- where the time limit cut training off before it could learn all of that, when its loss does not fall.
local root = arg[0]:match "^(.*)scripts/[^/]*$" or "../"
package.path = root .. "examples/?.lua;" .. root .. "scripts/?.lua;" .. package.path
local mosaic = require "mosaic"
local draw = require "gnuplot"
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

--- { step, value }: the values of steps as they are, or their running mean.
local function points(steps, name, running)
  local list, mean = {}, nil
  for i, entry in ipairs(steps) do
    mean = mean and running and 0.95 * mean + 0.05 * entry[name] or entry[name]
    list[i] = { entry.step, mean }
  end
  return list
end

local AXES = [[
set xlabel "training step"
set ylabel "loss"
set y2label "AUC"
set ytics nomirror
set y2tics]]

local function curve(title, style, color, list, axes)
  list.title, list.style, list.axes = title, ('%s linecolor rgb "%s"'):format(style, color), axes
  return list
end

local function plot(steps, held_out)
  return draw(folder .. "/plot.png", AXES, {
    curve("loss of a step", "lines", "#c0d0e0", points(steps, "loss")),
    curve("loss, running mean", "lines linewidth 2", "#2060a0", points(steps, "loss", true)),
    curve("AUC, running mean", "lines linewidth 2", "#e0a060", points(steps, "auc", true), "x1y2"),
    curve("AUC, held-out tables", "linespoints linewidth 2", "#c04020", points(held_out, "held_out_auc"),
      "x1y2"),
  })
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
