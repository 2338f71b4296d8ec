local mosaic = require "mosaic"
local close = require "spec.support.close"
local files = require "spec.support.files"
local program = require "spec.support.program"

local FOLDER = "examples/nanotabpfn/"
local SMALL = "--steps 3 --tables 2 --rows 24 --features 2 --embed-dim 8 --num-heads 2 --mlp-hidden 8 "
  .. "--num-layers 1 --every 2 --held-out 3 --classes 3"

local TRAIN, TEST = "size,weight,kind\n", "weight,size\n"
for i = 1, 20 do
  TRAIN = TRAIN .. ('%d,%d,"%s"\n'):format(i, i * i % 7, ({ "low, small", "mid", "high" })[math.ceil(i / 7)])
end
for i = 1, 5 do TEST = TEST .. ("%d,%d\n"):format(i % 3, 4 * i) end

local function run(arguments)
  local result = program(arguments)
  assert.equal(0, result.status, result.err)
  return result
end

describe("the nanoTabPFN programs", function()
  local out, train, test = files.path "run/deep", files.write(TRAIN, "a.csv"), files.write(TEST, "b.csv")

  it("train writes a model and its metrics", function()
    run(("--virtual 2 %strain.lua --out %s %s"):format(FOLDER, out, SMALL))
    local lines = {}
    for line in files.read(out .. "/metrics.jsonl"):gmatch "[^\n]+" do
      lines[#lines + 1] = mosaic.data.json.decode(line)
    end
    assert.equal(5, #lines) -- 3 steps, measured after 2 and at the end
    assert.equal(3, lines[4].step)
    assert.equal(6, lines[4].tables)
    assert.equal(2, lines[4].ranks)
    assert.is_true(lines[4].loss > 0 and lines[5].held_out_loss > 0)
    local _, metadata = mosaic.load(out .. "/model.safetensors")
    assert.equal("8", metadata.embed_dim)
    assert.equal("3", metadata.num_outputs)
  end)

  it("predict gives every test row a label and probabilities, the same on any number of ranks", function()
    local tables = {}
    for _, ranks in ipairs { 1, 3 } do
      local path = files.path "p.csv"
      run(("--virtual %d %spredict.lua --model %s/model.safetensors --train %s --test %s --target kind "
        .. "--out %s"):format(ranks, FOLDER, out, train, test, path))
      tables[#tables + 1] = mosaic.data.read_csv(path)
    end
    local names = { "probability_high", "probability_low, small", "probability_mid" }
    assert.same({ "kind", unpack(names) }, tables[1].names)
    assert.equal(5, tables[1].rows)
    local p = tables[1]:numeric(names)
    close(p:sum(2), { 1, 1, 1, 1, 1 })
    close(tables[2]:numeric(names), p, 1e-5)
    for i, label in ipairs(tables[1]:text "kind") do
      local best = p[i]:argmax(1):item()
      assert.equal("probability_" .. label, names[best])
    end
  end)

  it("evaluate prints the model beside the baselines and writes the figures", function()
    local json = files.path "figures.json"
    local result = run(("--virtual 2 %sevaluate.lua --model %s/model.safetensors --data %sdata/iris.csv "
      .. "--json %s"):format(FOLDER, out, FOLDER, json))
    assert.truthy(result.out:find("75 train rows, 75 test rows", 1, true))
    local figures = mosaic.data.json.decode(files.read(json))
    assert.is_true(figures.knn.auc > 0.95 and figures.logistic.auc > 0.94)
    assert.equal(0.5, figures.majority.auc)
    assert.is_true(figures.model.auc >= 0 and figures.model.auc <= 1)
  end)

  --- Runs evaluate on a CSV file; nothing is raised.
  local function evaluate(bytes)
    return program(("%sevaluate.lua --model %s/model.safetensors --data %s"):format(FOLDER, out,
      files.write(bytes, "table.csv")))
  end

  it("evaluate refuses missing values and names the first one", function()
    for text, place in pairs {
      ["a,b,target\n1,2,x\n3,4,y\n5,,x\n,8,y\n"] = "row 3, column 'b' is missing",
      ["a,b,target\n1,2,x\n3,4,\n5,NA,x\n7,8,y\n"] = "row 2, column 'target' is missing",
    } do
      local result = evaluate(text)
      assert.equal(1, result.status)
      assert.truthy(result.err:find(place, 1, true), result.err)
      assert.is_nil(result.err:find("traceback", 1, true))
    end
  end)

  it("evaluate says n/a for the AUC where the test rows hold one class", function()
    local rows, json = {}, files.path "one.json"
    for i = 1, 12 do rows[i] = ("%d,%d,%s\n"):format(i, i * i % 7, i == 1 and "rare" or "usual") end
    local path = files.write("a,b,target\n" .. table.concat(rows), "one.csv")
    local function figures(seed)
      local result = run(("%sevaluate.lua --model %s/model.safetensors --data %s --json %s --seed %d"):format(
        FOLDER, out, path, json, seed))
      return mosaic.data.json.decode(files.read(json)), result.out
    end
    local measured = { n_a = 0, numbers = 0 }
    for seed = 0, 5 do
      local all, text = figures(seed)
      local n_a = all.model.auc == mosaic.data.json.null
      assert.equal(n_a, all.majority.auc == mosaic.data.json.null)
      assert.equal(n_a, text:find("nanoTabPFN +n/a") ~= nil)
      assert.equal(n_a, text:find("the test rows hold one class only", 1, true) ~= nil)
      local kind = n_a and "n_a" or "numbers"
      measured[kind] = measured[kind] + 1
    end
    assert.is_true(measured.n_a > 0 and measured.numbers > 0)
  end)

  it("train stops at --enough where the time will not do for all steps, and goes on where it will", function()
    local folder = files.path "enough"
    for seconds, expected in pairs { [1e-9] = 1, [20] = 3, [900] = 6 } do
      program(("%strain.lua --out %s --steps %d --enough 3 --tables 1 --rows 8 --features 1 --embed-dim 4 "
        .. "--num-heads 1 --mlp-hidden 4 --num-layers 1 --seconds %g"):format(FOLDER, folder,
        expected == 3 and 1e6 or 6, seconds))
      local steps = 0
      for _ in files.read(folder .. "/metrics.jsonl"):gmatch '"step"' do steps = steps + 1 end
      assert.equal(expected, steps)
    end
  end)

  it("train refuses options that no table or model can be made with, before it starts", function()
    for words, text in pairs {
      ["--rows 1"] = "--rows: expected an integer of at least 4, got '1'",
      ["--tables 2.5"] = "--tables: expected an integer from 1 to 4095, got '2.5'",
      ["--tables 4096"] = "--tables: expected an integer from 1 to 4095, got '4096'",
      ["--steps 0"] = "--steps: expected an integer from 1 to 2097151, got '0'",
      ["--strategy local"] = "--strategy local is for one rank, not 2",
    } do
      local folder = files.path "refused"
      local result = program(("--virtual 2 %strain.lua --out %s %s"):format(FOLDER, folder, words))
      assert.equal(1, result.status)
      assert.truthy(result.err:find(text, 1, true), result.err)
      assert.is_nil(io.open(folder .. "/metrics.jsonl"))
    end
  end)

  it("predict and evaluate refuse a local backend on several ranks", function()
    for _, rest in ipairs {
      "evaluate.lua --model m --data d", "predict.lua --model m --train a --test b --target t --out p",
    } do
      local result = program("--virtual 3 " .. FOLDER .. rest .. " --strategy local")
      assert.equal(1, result.status)
      assert.truthy(result.err:find("--strategy local is for one rank, not 3", 1, true), result.err)
    end
  end)

  it("the demonstration says when its training was cut off", function()
    local folder = files.path "demo"
    mosaic.data.make_folder(folder)
    local function write(name, text)
      local file = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    local function steps(count, slope)
      local lines = {}
      for i = 1, count do
        lines[i] = ('{"step":%d,"loss":%g,"auc":0.5,"tables":8,"ranks":2}\n'):format(i, 0.7 + slope * i)
      end
      write("metrics.jsonl", table.concat(lines))
    end
    write("evaluation.json", '{"model":{"auc":0.6,"accuracy":0.6},"knn":{"auc":0.9},"logistic":{"auc":0.9}}')
    local function judged(wanted, status, text)
      local result = program("scripts/demo-result.lua " .. folder .. " 9 " .. wanted)
      assert.equal(status, result.status)
      assert.truthy((result.out .. result.err):find(text, 1, true), result.out .. result.err)
      assert.is_nil(result.err:find("traceback", 1, true))
    end
    steps(120, -0.0005)
    judged(400, 0, "Training was cut off by its time limit after 120 of 400 steps. So far: AUC 0.600 (after")
    judged(120, 1, "the model has not learned enough in 120 steps: AUC 0.600")
    steps(120, 0.0005)
    judged(400, 1, "the model has not learned enough in 120 steps: AUC 0.600")
  end)

  it("say what is wrong with the user's input, without a traceback", function()
    local result = program(("--virtual 2 %strain.lua --stps 3"):format(FOLDER))
    assert.equal(1, result.status)
    assert.truthy(result.err:find("unknown option '--stps', did you mean '--steps'?", 1, true))
    assert.is_nil(result.err:find("traceback", 1, true))
    assert.truthy(run(FOLDER .. "predict.lua --help").out:find("--impute S", 1, true))
  end)
end)
