--- A program beside this one that does the same work: it reads a case per line and answers with the CPU
-- seconds of one repetition and those that passed. Its first line is its name.
local Peer = {}
Peer.__index = Peer

--- What the peer answers to a line.
function Peer:ask(line)
  self.requests:write(line, "\n")
  self.requests:flush()
  local answer = self.answers:read "*l"
  return answer or error("the peer has ended; the line was: " .. line)
end

--- CPU seconds of one repetition of a case, such as "forward 24 4096"; with `wall` those that passed.
function Peer:time(case, wall)
  local answer = self:ask(case)
  local cpu, passed = answer:match "^(%S+) (%S+)$"
  return tonumber(wall and passed or cpu) or error(("the peer's answer to %s was: %s"):format(case, answer))
end

--- Starts a program, with a script if it is an interpreter, and with settings such as "A=1 B=2"; nil where
-- there is no such program, or it ends at once.
function Peer.start(program, script, settings)
  if os.execute(("command -v %s >/dev/null"):format(program)) ~= 0 then return nil end
  local pipe = os.tmpname()
  os.remove(pipe)
  assert(os.execute("mkfifo " .. pipe) == 0, "cannot make a pipe at " .. pipe)
  local command = ("exec env %s %s %s >%s"):format(settings or "", program, script or "", pipe)
  local requests = io.popen(command, "w")
  local answers = assert(io.open(pipe, "r"))
  os.remove(pipe)
  local name = answers:read "*l"
  return name and setmetatable({ requests = requests, answers = answers, name = name }, Peer)
end

return Peer
