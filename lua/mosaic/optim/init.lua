--- Optimizers: `optim.AdamW { params = model:parameters(), lr = 1e-3 }`, then backward, step, zero_grad.
local adam = require "mosaic.optim.adam"

return {
  Optimizer = require "mosaic.optim.optimizer",
  SGD = require "mosaic.optim.sgd",
  Adam = adam.Adam,
  AdamW = adam.AdamW,
  ScheduleFreeAdamW = require "mosaic.optim.schedule_free",
  clip_grad_norm_ = require "mosaic.optim.clip",
  schedules = require "mosaic.optim.schedules",
}
