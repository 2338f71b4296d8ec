"""The peer of `scripts/gpu-bench`: the same work in PyTorch, one line of input at a time.

A line names a case ("forward flash bf16 16384 16 128 causal"); the answer is a line of JSON: seconds of
one call, the errors that were asked for, or why it cannot be done. The first line out names torch. A case
is kept until another comes with `forget`, so that Mosaic and torch take turns within one run.
"""
import json
import math
import os
import signal
import struct
import sys
import time

import torch
import torch._dynamo
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from nanotabpfn import training_step  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PATIENCE = 40  # seconds for one line of input: compiling may not hold everything up
SPAN = float(os.environ.get("MOSAIC_BENCH_SPAN", "0.02"))  # seconds that one measurement takes at least
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


# ---- attention -------------------------------------------------------------------------------

def flex_mask(mask, n):
    """"causal", "window:1023" (keys before a query), "documents:100,50,..." (their lengths)."""
    from torch.nn.attention.flex_attention import create_block_mask
    kind, _, value = mask.partition(":")
    if kind == "none":
        return None
    if kind == "documents":
        lengths = torch.tensor([int(x) for x in value.split(",")], device=DEVICE)
        ids = torch.repeat_interleave(torch.arange(len(lengths), device=DEVICE), lengths)

        def sees(b, h, i, j):
            return ids[i] == ids[j]
    elif kind == "window":
        left = int(value)

        def sees(b, h, i, j):
            return (j <= i) & (i - j <= left)
    else:
        def sees(b, h, i, j):
            return j <= i
    return create_block_mask(sees, None, None, n, n, device=DEVICE)


def attention(backend, mask, n):
    """q, k, v -> out by the backend, under the mask."""
    if backend == "flex":
        from torch.nn.attention.flex_attention import flex_attention
        compiled, block_mask = torch.compile(flex_attention, dynamic=False), flex_mask(mask, n)
        return lambda q, k, v: compiled(q, k, v, block_mask=block_mask)
    if mask not in ("none", "causal"):
        raise ValueError(f"{backend} takes no mask '{mask.partition(':')[0]}'")

    def call(q, k, v):
        with sdpa_kernel(BACKENDS[backend]):
            return F.scaled_dot_product_attention(q, k, v, is_causal=mask == "causal")
    return call


def timed_attention(q, k, v, backend, mask, backward):
    call = attention(backend, mask, q.shape[-2])
    if not backward:
        with torch.no_grad():
            call(q, k, v)

        def forward():
            with torch.no_grad():
                call(q, k, v)
        return forward
    operands = [x.detach().requires_grad_() for x in (q, k, v)]
    out = call(*operands)
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, operands, dout, retain_graph=True)


def noise(*shape, dtype):
    return torch.randn(*shape, device=DEVICE, dtype=DTYPES[dtype])


def sequence(backward):
    def prepare(backend, dtype, n, heads, d, mask):
        q, k, v = (noise(1, int(heads), int(n), int(d), dtype=dtype) for _ in range(3))
        return timed_attention(q, k, v, backend, mask, backward)
    return prepare


def axis(backward):
    """Attention along axis 2 or 3 of (batch, rows, features, embed), as views: nothing is copied first."""
    def prepare(backend, dtype, rows, features, heads, d, name):
        def view():
            x = noise(1, int(rows), int(features), int(heads), int(d), dtype=dtype)
            along = x.permute(0, 1, 3, 2, 4) if name == "features" else x.permute(0, 2, 3, 1, 4)
            return along.flatten(0, 1)
        return timed_attention(view(), view(), view(), backend, "none", backward)
    return prepare


# ---- memory and the model --------------------------------------------------------------------

def stream(kind, dtype, side):
    side = int(side)
    x, y = noise(side, side, dtype=dtype), noise(side, side, dtype=dtype)
    out = torch.empty_like(x)
    return {
        "copy": lambda: out.copy_(x),
        "transpose": lambda: out.copy_(x.t()),
        "add": lambda: torch.add(x, y, out=out),
    }[kind]


def train(tables, rows, features, train_rows):
    return training_step(int(tables), int(rows), int(features), int(train_rows), DEVICE)


CASES = {
    "forward": sequence(False), "backward": sequence(True),
    "axis-forward": axis(False), "axis-backward": axis(True),
    "stream": stream, "train": train,
}


# ---- errors ----------------------------------------------------------------------------------

def read_safetensors(path):
    types = {"F64": torch.float64, "F32": torch.float32}
    with open(path, "rb") as file:
        data = bytearray(file.read())
    length, = struct.unpack_from("<Q", data)
    tensors = {}
    for name, info in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            first, last = (8 + length + at for at in info["data_offsets"])
            flat = torch.frombuffer(data[first:last], dtype=types[info["dtype"]])
            tensors[name] = flat.reshape(info["shape"]).to(DEVICE)
    return tensors


def errors(backend, dtype, mask, path):
    """Of out, dq, dk and dv of a file with operands and float64 results: the norm of the difference over
    the norm of the truth, and the largest difference over the largest value."""
    t = read_safetensors(path)
    q, k, v = (t[name].to(DTYPES[dtype]).requires_grad_() for name in "qkv")
    out = attention(backend, mask, q.shape[-2])(q, k, v)
    grads = torch.autograd.grad(out, (q, k, v), t["dout"].to(out.dtype))
    result = {}
    for name, value in zip(("out", "dq", "dk", "dv"), (out, *grads)):
        truth = t["true_" + name]
        off = value.detach().double() - truth
        result[name] = [(off.norm() / truth.norm()).item(), (off.abs().max() / truth.abs().max()).item()]
    return result


# ---- the loop --------------------------------------------------------------------------------

def seconds_of(body, count):
    synchronize()
    start = time.perf_counter()
    for _ in range(count):
        body()
    synchronize()
    return (time.perf_counter() - start) / count


def prepare(name, *arguments):
    """(body, how many calls make one measurement), after the first calls, which compile."""
    body = CASES[name](*arguments)
    for _ in range(2):
        body()
    return body, max(1, min(1000, math.ceil(SPAN / max(seconds_of(body, 1), 1e-7))))


def answer(line, prepared):
    name, *arguments = line.split()
    if name == "forget":
        prepared.clear()
        torch._dynamo.reset()  # or it would refuse to compile a function for many shapes
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
        return {}
    if name == "errors":
        return {"errors": errors(*arguments)}
    if line not in prepared:
        prepared[line] = prepare(name, *arguments)
    return {"seconds": seconds_of(*prepared[line])}


def out_of_patience(*_):
    raise TimeoutError(f"not done within {PATIENCE} s")


def main():
    signal.signal(signal.SIGALRM, out_of_patience)
    torch.manual_seed(0)
    prepared = {}
    answers = os.fdopen(os.dup(1), "w")  # whatever else prints goes to stderr
    os.dup2(2, 1)
    print("torch", torch.__version__, "on", DEVICE, file=answers, flush=True)
    for line in sys.stdin:
        try:
            signal.alarm(PATIENCE)
            reply = answer(line.strip(), prepared)
        except Exception as error:  # of any kind: the other cases go on
            reply = {"why": f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]}
        signal.alarm(0)
        print(json.dumps(reply), file=answers, flush=True)


main()
