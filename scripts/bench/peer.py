"""The peer of `make bench`: the same work in PyTorch, one repetition per line of input.

Reads "NAME ARGUMENTS..." lines, does the work once on one thread, and answers with one line, the
CPU seconds of the process that it took, so that Mosaic and torch alternate within one run.
"""
import sys
import time

import torch
import torch.nn.functional as F

from nanotabpfn import training_step

torch.set_num_threads(1)


def sdpa_case(size, n, backward):
    q, k, v = (torch.randn(1, 1, n, size, requires_grad=backward) for _ in range(3))
    out = F.scaled_dot_product_attention(q, k, v)
    if not backward:
        return lambda: F.scaled_dot_product_attention(q, k, v)
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)


CASES = {
    "forward": lambda size, n: sdpa_case(size, n, False),
    "backward": lambda size, n: sdpa_case(size, n, True),
    "train": training_step,
}


def main():
    torch.manual_seed(0)
    prepared = {}
    print("torch", torch.__version__, flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        if line not in prepared:
            prepared[line] = CASES[name](*map(int, arguments))
            prepared[line]()
        start = time.process_time()
        prepared[line]()
        print(time.process_time() - start, flush=True)


main()
