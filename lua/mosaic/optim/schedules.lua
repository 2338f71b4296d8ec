--- Learning rates over time: each function returns another, from the step's number (0 first) to the rate.
--
--   local rate = optim.schedules.cosine { lr = 1e-3, warm_up = 100, steps = 5000 }
--   for step = 0, 4999 do optimizer.lr = rate(step) ... end
local check = require "mosaic.check"

local schedules = {}

--- Rises linearly over the first `warm_up` steps (step 0 already moves), then follows `after`.
local function warmed(options, after)
  local warm_up = check.integer("schedule", "warm_up", options.warm_up or 0, 0)
  return function(step)
    if step < warm_up then return options.lr * (step + 1) / warm_up end
    return after(step - warm_up, warm_up)
  end
end

local function options_of(name, options, names)
  check.options(name, options, { "lr", "warm_up", unpack(names) })
  check.option(name, options, "lr", "number")
  return options
end

--- The share of the way from the end of the warm-up to the last step, in 0..1.
local function progress(step, steps, warm_up)
  return math.min(1, step / math.max(1, steps - warm_up))
end

--- lr throughout, after the warm-up.
function schedules.constant(options)
  options_of("constant", options, {})
  return warmed(options, function() return options.lr end)
end

--- From lr in a straight line to `final` (default 0) at step `steps`.
function schedules.linear(options)
  options_of("linear", options, { "steps", "final" })
  local steps = check.option("linear", options, "steps", "integer")
  local final = check.option("linear", options, "final", "number", 0)
  return warmed(options, function(step, warm_up)
    return options.lr + (final - options.lr) * progress(step, steps, warm_up)
  end)
end

--- From lr along half a cosine to `final` (default 0) at step `steps`.
function schedules.cosine(options)
  options_of("cosine", options, { "steps", "final" })
  local steps = check.option("cosine", options, "steps", "integer")
  local final = check.option("cosine", options, "final", "number", 0)
  return warmed(options, function(step, warm_up)
    local wave = (1 + math.cos(math.pi * progress(step, steps, warm_up))) / 2
    return final + (options.lr - final) * wave
  end)
end

--- Multiplied by `factor` (default 0.1) every `every` steps.
function schedules.step(options)
  options_of("step", options, { "every", "factor" })
  local every = check.integer("step", "every", options.every, 1)
  local factor = check.option("step", options, "factor", "number", 0.1)
  return warmed(options, function(step)
    return options.lr * factor ^ math.floor(step / every)
  end)
end

return schedules
