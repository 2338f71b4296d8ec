"""A peer of `make bench`: the same work in PyTorch, one repetition per line of input.

Reads "NAME ARGUMENTS..." lines, does the work once on one thread (or as many as the case says), and
answers with one line, the CPU seconds of the process that it took and those that passed, so that
Mosaic and torch alternate within one run.
"""
import torch
import torch.nn.functional as F

from nanotabpfn import training_step
from peer import serve

torch.set_num_threads(1)


def on_threads(threads, body):
    def run():
        torch.set_num_threads(threads)
        body()
        torch.set_num_threads(1)

    return run


def operands(size, n, dtype="f32", requires_grad=False):
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    return [torch.randn(1, 1, n, size, dtype=kind, requires_grad=requires_grad) for _ in range(3)]


def forward(size, n, dtype="f32"):
    q, k, v = operands(size, n, dtype)
    return lambda: F.scaled_dot_product_attention(q, k, v)


def backward(size, n, dtype="f32"):
    leaves = operands(size, n, dtype, requires_grad=True)
    out = F.scaled_dot_product_attention(*leaves)
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, leaves, dout, retain_graph=True)


def masked(size, n, mask):
    """Forward and backward with a mask."""
    leaves = operands(size, n, requires_grad=True)
    dout = torch.randn(1, 1, n, size)
    options = {"causal": {"is_causal": True}, "bias": {"attn_mask": torch.randn(n, n)},
               "dropout": {"dropout_p": 0.1}}[mask]
    return lambda: torch.autograd.grad(F.scaled_dot_product_attention(*leaves, **options), leaves, dout)


def features(rows, columns, threads):
    """Forward and backward of attention between the columns of table rows: 4 heads of 24."""
    x = torch.randn(rows, columns, 3 * 96)
    q, k, v = (part.view(rows, columns, 4, 24).transpose(1, 2) for part in x.split(96, -1))
    leaves = [part.requires_grad_() for part in (q, k, v)]
    dout = torch.randn(rows, columns, 4, 24).transpose(1, 2)
    return on_threads(threads, lambda: torch.autograd.grad(
        F.scaled_dot_product_attention(*leaves), leaves, dout))


def product(kind, m, n, k, calls):
    """m x n results of k terms, where kind says which of both operands lie transposed: as blas.c does them."""
    a = torch.randn(m, k) if kind[0] == "n" else torch.randn(k, m).t()
    b = torch.randn(k, n) if kind[1] == "n" else torch.randn(n, k).t()

    def body():
        for _ in range(calls):
            torch.mm(a, b)

    return body


def chain(operation, how, length):
    """Operations on 4 x 4, one after the other: unrecorded, forward, or with their backward."""
    x, y = torch.randn(4, 4, requires_grad=how != "unrecorded"), torch.ones(4, 4, requires_grad=how != "unrecorded")
    step = torch.add if operation == "add" else torch.mul
    start = torch.randn(4, 4)

    def body():
        z = x
        for _ in range(length):
            z = step(z, y)
        if how == "backward":
            torch.autograd.grad(z, (x, y), start)

    return body


def train(tables, rows, columns, train_rows, threads):
    return on_threads(threads, training_step(tables, rows, columns, train_rows))


torch.manual_seed(0)
serve("torch " + torch.__version__.split("+")[0], {
    "forward": forward, "backward": backward, "masked": masked, "features": features, "product": product,
    "chain": chain, "train": train,
})
