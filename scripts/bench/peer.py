"""The peer of `make bench`: the same work in PyTorch, one repetition per line of input.

Reads "NAME ARGUMENTS..." lines, does the work once on one thread (or as many as the case says), and
answers with one line, the CPU seconds of the process that it took and those that passed, so that
Mosaic and torch alternate within one run.
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


def feature_case(rows, columns, threads):
    """Forward and backward of attention between the columns of table rows: 4 heads of 24."""
    x = torch.randn(rows, columns, 3 * 96)
    q, k, v = (part.view(rows, columns, 4, 24).transpose(1, 2) for part in x.split(96, -1))
    leaves = [part.requires_grad_() for part in (q, k, v)]
    dout = torch.randn(rows, columns, 4, 24).transpose(1, 2)

    def body():
        torch.set_num_threads(threads)
        torch.autograd.grad(F.scaled_dot_product_attention(*leaves), leaves, dout)
        torch.set_num_threads(1)

    return body


CASES = {
    "forward": lambda size, n: sdpa_case(size, n, False),
    "backward": lambda size, n: sdpa_case(size, n, True),
    "features": feature_case,
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
        start, wall = time.process_time(), time.perf_counter()
        prepared[line]()
        print(time.process_time() - start, time.perf_counter() - wall, flush=True)


main()
