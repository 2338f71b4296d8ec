--- The nanoTabPFN of a case: `build(case, dtype, comm, strategy)`; without comm it runs locally.
local NanoTabPFN = require "nanotabpfn.model"

return function(case, dtype, comm, strategy)
  local model = case.model()
  local options = { dtype = dtype, comm = comm, backend = comm and strategy or "local" }
  for name, size in pairs(model.sizes) do options[name] = size end
  local net, state = NanoTabPFN(options), {}
  for name in pairs(net:state_dict()) do state[name] = model.state[name] end
  return net:load_state_dict(state)
end
