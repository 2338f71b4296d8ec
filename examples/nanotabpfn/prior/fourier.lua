--- A random function of one number: sum_i a_i sin(f_i x + phase_i), 256 terms.
--
-- f_i = 256 U; a_i = f_i^-exp(U(ln 0.7, ln 3)), normalised, times N(0, 1). Term by term it costs 256 sines a
-- point (0.16 us). Points that lie close together are read off a table instead, with straight lines between
-- entries so close that they err by a thousandth of the function's spread; sin(a + b) makes the table a
-- product of two small matrices, 20 times cheaper an entry. (Entries 1/1024 apart err by as much in the
-- roughest functions; most are smooth, and a quarter of the entries will do.)
local mosaic = require "mosaic"

local TERMS, CHUNK = 256, 256
local ERROR = 1e-3    -- of a straight line between two entries, beside the spread of the function
local CHEAPER = 20    -- entries for the price of a point
local LEAST = 1024    -- entries at least, for points that are all close together

--- frequency (1, terms), phase (1, terms), weight (terms, 1)
local function draw_terms(stream)
  local decay = math.exp(stream:uniform(math.log(0.7), math.log(3)))
  local frequency = stream:uniforms(1, TERMS):mul_(TERMS):clamp_(1e-3, TERMS)
  local size = frequency:pow(-decay)
  return {
    frequency = frequency, phase = stream:uniforms(1, TERMS):mul_(2 * math.pi),
    weight = (size / size:square():sum():sqrt() * stream:normals(1, TERMS)):view(TERMS, 1),
  }
end

--- How many entries a unit needs: at a distance of h a line errs by h^2 / 8 of the second derivative, whose
-- terms are f^2 a.
local function entries_per_unit(f)
  local weight = f.weight:view(1, TERMS)
  local bend = (f.frequency:square() * weight):square():sum() / weight:square():sum()
  return math.sqrt(math.sqrt(bend:item()) / (8 * ERROR))
end

--- points (n, 1) -> (n, 1); CHUNK points at a time stay in the cache
local function term_by_term(f, points)
  local parts, column = {}, f.frequency:view(TERMS, 1)
  for first = 1, points:size(1), CHUNK do
    local some = points:slice(1, first, math.min(first + CHUNK - 1, points:size(1)))
    parts[#parts + 1] = mosaic.linear(some, column, f.phase:view(TERMS)):sin_():matmul(f.weight)
  end
  return mosaic.cat(parts, 1)
end

--- The function at low + k / per_unit, k = 0 .. side^2 - 1, with k = side i + j cut in two:
-- sum a sin(f x_i + phase) cos(f d_j) + a cos(f x_i + phase) sin(f d_j)
local function tabulate(f, low, per_unit, side)
  local steps, scale = mosaic.arange(0, side - 1, { dtype = "f32" }):view(side, 1), f.weight:view(1, TERMS)
  local fine = (steps / per_unit) * f.frequency -- (side, terms)
  local coarse = (steps * (side / per_unit) + low) * f.frequency
  coarse:add_(f.phase)
  local sines = coarse:sin():mul_(scale):matmul(fine:cos():t())
  return sines:add_(coarse:cos_():mul_(scale):matmul(fine:sin_():t())):view(-1)
end

--- points (n, 1) -> (n), by straight lines between the entries
local function look_up(entries, low, per_unit, points)
  local at = (points:view(-1) - low):mul_(per_unit)
  local below = at:floor()
  local index = below:to "i64":add_(1)
  local left = entries:index_select(1, index)
  return left:lerp(entries:index_select(1, index:add_(1)), at:sub_(below))
end

--- x of any shape -> the same shape
local function apply(x, stream)
  local f, points = draw_terms(stream), x:contiguous():view(-1, 1)
  local low, high = points:min():item(), points:max():item()
  local per_unit = math.max(entries_per_unit(f), LEAST / math.max(high - low, 1e-6))
  local count = (high - low) * per_unit + 2
  if count > CHEAPER * points:size(1) then return term_by_term(f, points):view(x.shape) end
  local entries = tabulate(f, low, per_unit, math.ceil(math.sqrt(count)))
  return look_up(entries, low, per_unit, points):view(x.shape)
end

return function(x, stream) return mosaic.scope(apply, x, stream) end
