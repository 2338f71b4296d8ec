--- A stream of random numbers for one table: the same on every rank, for any number of ranks, whatever
-- was drawn for other tables. Single numbers come out of blocks drawn by the library.
local mosaic = require "mosaic"

local BLOCK = 256    -- numbers drawn at once
local DRAWS = 2 ^ 20 -- calls of the generator that belong to one table
local TABLES = 2 ^ 12 -- places for tables in a batch
local BATCHES = 2 ^ 21 -- what then fits into the generator's 2^53 calls

local Stream = mosaic.class "Stream"

Stream.MOST_TABLES, Stream.LAST_BATCH = TABLES - 1, BATCHES - 1

--- Table `number` of batch `index` of a seed; 0 for what the tables of the batch share. Beyond the limits
-- a table would get the numbers of another one.
function Stream:init(seed, index, number)
  if number >= TABLES or index >= BATCHES then
    mosaic.check.fail("Stream: table %d of batch %d: there are streams for %d tables in each of %d batches",
      number, index, TABLES - 1, BATCHES)
  end
  local first = (index * TABLES + number) * DRAWS
  self.generator, self.last = mosaic.generator(seed):seek(first), first + DRAWS - 1
  self.block, self.at = {}, BLOCK
end

--- The generator for one call more.
function Stream:source()
  if self.generator:position() > self.last then
    mosaic.check.fail("Stream: a table has drawn from the generator %d times, its share", DRAWS)
  end
  return self.generator
end

function Stream:draw()
  return mosaic.rand({ BLOCK, dtype = "f64", device = "cpu", generator = self:source() }):flat()
end

--- Between low (0) and high (1).
function Stream:uniform(low, high)
  if self.at == BLOCK then
    self.block, self.at = self:draw(), 0
  end
  self.at = self.at + 1
  local u = self.block[self.at]
  return low and low + (high - low) * u or u
end

--- A whole number from low to high, both included.
function Stream:integer(low, high)
  return low + math.floor(self:uniform() * (high - low + 1))
end

function Stream:choice(list)
  return list[self:integer(1, #list)]
end

--- N(0, 1), by Box and Muller.
function Stream:normal()
  local radius = math.sqrt(-2 * math.log(1 - self:uniform()))
  return radius * math.cos(2 * math.pi * self:uniform())
end

--- Gamma(shape, 1) by Marsaglia and Tsang; below shape 1 by their power of a uniform number.
function Stream:gamma(shape)
  if shape < 1 then return self:gamma(shape + 1) * (1 - self:uniform()) ^ (1 / shape) end
  local d = shape - 1 / 3
  local c = 1 / math.sqrt(9 * d)
  while true do
    local x = self:normal()
    local v = (1 + c * x) ^ 3
    local bound = v > 0 and 0.5 * x * x + d - d * v + d * math.log(v)
    if bound and math.log(1 - self:uniform()) < bound then return d * v end
  end
end

function Stream:beta(a, b)
  local x = self:gamma(a)
  return x / (x + self:gamma(b))
end

--- A magnitude: normal around mu, log-uniform in low..high, with a spread of 1 to 100 % of mu, and not
-- negative.
function Stream:truncated_log(low, high)
  local mu = math.exp(self:uniform(math.log(low), math.log(high)))
  local sigma = mu * math.exp(self:uniform(math.log(0.01), 0))
  local value
  repeat value = mu + sigma * self:normal() until value >= 0
  return value
end

--- 1..n in random order.
function Stream:permutation(n)
  local list = {}
  for i = 1, n do list[i] = i end
  for i = n, 2, -1 do
    local j = self:integer(1, i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

--- A tensor (rows, columns) of N(0, 1), f32.
function Stream:normals(rows, columns)
  return mosaic.randn { rows, columns, generator = self:source() }
end

--- A tensor (rows, columns) of U(0, 1), f32.
function Stream:uniforms(rows, columns)
  return mosaic.rand { rows, columns, generator = self:source() }
end

return Stream
