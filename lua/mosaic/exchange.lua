--- Rows change places with another axis (heads, batch): who had some rows of all its entries gets all rows
-- of some entries, and back. Axes count from the end; rows are -2.
--
-- parts and rows are lists with one number a rank: how many entries it has afterwards, how many rows before.
-- All functions start one all-to-all and return a request.
local exchange = {}

--- x (..., all entries, ..., own rows, d) -> (..., own entries, ..., all rows, d).
function exchange.to_parts(comm, x, axis, parts, rows, wire)
  return comm:all_to_all(x, {
    split_axis = axis, concat_axis = -2, split_sizes = parts, concat_sizes = rows, async = true, wire = wire,
  })
end

--- The way back.
function exchange.to_rows(comm, x, axis, parts, rows)
  return comm:all_to_all(x, {
    split_axis = -2, concat_axis = axis, split_sizes = rows, concat_sizes = parts, async = true,
  })
end

--- out and lse (which has no axis d) of own entries -> of own rows; waits.
function exchange.results_to_rows(comm, out, lse, axis, parts, rows)
  out = exchange.to_rows(comm, out, axis, parts, rows)
  lse = exchange.to_rows(comm, lse:unsqueeze(-1), axis, parts, rows)
  return out:wait(), lse:wait():squeeze(-1)
end

return exchange
