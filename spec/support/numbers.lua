--- The numbers in the whole, from 1, of a call's flat batch entry b and head h (from 0).
return function(options, shape, b, h)
  local from, own = options.batch_from or {}, shape[#shape - 3] or 1
  local outer, inner = (from[#from - 1] or 1) - 1, (from[#from] or 1) - 1
  local batch = (outer + math.floor(b / own)) * (options.batch_total or own) + inner + b % own
  return batch + 1, (options.head_from or 1) + h
end
