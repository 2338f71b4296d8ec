--- The C library refuses programs that it could not run without reading outside of its registers.
local ffi = require "ffi"
local mosaic = require "mosaic"
local fails = require "spec.support.fails"

local table_of = { 1, 2, 3 }

local function program()
  return mosaic.program.score(function(s, _, h, i) return s * i + table_of[h] end)
end

describe("a program", function()
  it("must be sound to be run", function()
    local q = mosaic.ones { 1, 2, 3, 4 }
    for name, spoil in pairs {
      ["a register too high"] = function(c)
        ffi.cast("mosaic_program_step *", c.steps)[0].to = c.registers
      end,
      ["an operand that nobody wrote"] = function(c)
        c.registers = c.registers + 1
        ffi.cast("mosaic_program_step *", c.steps)[c.count - 1].a = c.registers - 1
      end,
      ["an unknown operation"] = function(c) ffi.cast("mosaic_program_step *", c.steps)[1].op = 99 end,
      ["a table that is not there"] = function(c) c.table_count = 0 end,
      ["no registers"] = function(c) c.registers = 0 end,
      ["a result outside"] = function(c) c.result = -1 end,
      ["a slope outside"] = function(c) c.slope = 200 end,
    } do
      local spoilt = program()
      spoil(spoilt.c)
      fails("attention: the program of mask.score is not sound", function()
        mosaic.sdpa(q, q, q, { mask = { score = spoilt } })
        error("ran with " .. name)
      end)
    end
  end)
end)
