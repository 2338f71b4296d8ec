--- Infini-attention: exact attention within segments, a compressive memory for all that came before.
--
--   local out, state = mosaic.infini_attention(q, k, v, { segment = 64, beta = beta, state = {} })
--
-- q (..., heads, n, d), k and v (..., kv heads, n, d), one beta per head. Within its segment a query
-- attends causally; from the segments before it reads M and z of its head, of d x d + d numbers whatever
-- the length: out = sigmoid(beta) f(q) M / (f(q) z) + (1 - sigmoid(beta)) A_dot, with f = elu + 1.
-- An approximation of attention over all rows, but itself exact: rows may be sharded contiguously over
-- ranks in any way, and come in pieces of any length. (Munkhdalai et al. 2024, "Leave no context behind".)
-- options:
--   segment   rows in a segment (required)
--   beta      tensor (heads): the gate (required)
--   update    "linear" (default) M += f(k)^T v, or "delta" M += f(k)^T (v - f(k) M / (f(k) z))
--   state     what an earlier call over the rows before these returned; {} for the first rows. With it
--             the state after these rows is the second result, the same on every rank. The gradient of a
--             state that was given is the sum over the ranks; state:detach() cuts it off the tape.
--   comm      the ranks that the rows lie on (default: mosaic.init's sequence-parallel ones)
--   encode    function(x, positions): q or k with their position encoding (positions: i64 (n), from 1).
--             It and alibi (slopes, one a head) go to A_dot only: the memory has no positions.
--   scale     of A_dot's scores (default 1/sqrt(d))
-- out has q's sizes; it is f32, or f64 for f64 operands, and so is the memory. A call holds one memory for
-- each of its segments; what it leaves behind is the state alone.
local prepare = require "mosaic.infini.prepare"
local run = require "mosaic.infini.run"

return function(q, k, v, options)
  return run(prepare.all(q, k, v, options))
end
