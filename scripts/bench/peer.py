"""The peer of `make bench`: the same work in PyTorch, one repetition per line of input.

Reads "NAME ARGUMENTS..." lines, does the work once on one thread, and answers with one line, the
CPU seconds of the process that it took, so that Mosaic and torch alternate within one run.
"""
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def sdpa_case(size, n, backward):
    q, k, v = (torch.randn(1, 1, n, size, requires_grad=backward) for _ in range(3))
    out = F.scaled_dot_product_attention(q, k, v)
    if not backward:
        return lambda: F.scaled_dot_product_attention(q, k, v)
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)


class Attention(torch.nn.Module):
    """Packed multi-head attention over the second-last axis; keys from the first `keys` rows."""

    def __init__(self, embed, heads):
        super().__init__()
        self.heads = heads
        self.packed = torch.nn.Linear(embed, 3 * embed)
        self.out = torch.nn.Linear(embed, embed)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def forward(self, x, keys):
        embed = x.shape[-1]
        weight, bias = self.packed.weight, self.packed.bias
        seen = x[..., :keys, :]
        q = self.split(F.linear(x, weight[:embed], bias[:embed]))
        k, v = (self.split(part) for part in F.linear(seen, weight[embed:], bias[embed:]).chunk(2, -1))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.out(out.transpose(-3, -2).flatten(-2))


class Block(torch.nn.Module):
    def __init__(self, embed, heads, hidden):
        super().__init__()
        self.columns, self.rows = Attention(embed, heads), Attention(embed, heads)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(embed, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, embed))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(embed) for _ in range(3))

    def forward(self, x, train_rows):
        b, r, c, e = x.shape
        x = self.norms[0](x + self.columns(x.reshape(b * r, c, e), c).view(b, r, c, e))
        by_column = x.transpose(1, 2).reshape(b * c, r, e)
        x = self.norms[1](x + self.rows(by_column, train_rows).view(b, c, r, e).transpose(1, 2))
        return self.norms[2](x + self.mlp(x))


class NanoTabPFN(torch.nn.Module):
    def __init__(self, embed=96, heads=4, hidden=192, layers=3, outputs=2):
        super().__init__()
        self.feature, self.target = torch.nn.Linear(1, embed), torch.nn.Linear(1, embed)
        self.blocks = torch.nn.ModuleList(Block(embed, heads, hidden) for _ in range(layers))
        self.decoder = torch.nn.Sequential(
            torch.nn.Linear(embed, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, outputs))

    def forward(self, x, y, train_rows):
        head = x[:, :train_rows]
        z = (x - head.mean(1, keepdim=True)) / (head.std(1, keepdim=True) + 1e-20)
        seen = y[:, :train_rows]
        rest = seen.mean(1, keepdim=True).expand(-1, x.shape[1] - train_rows)
        cells = [self.feature(z.clamp(-100, 100).unsqueeze(-1)),
                 self.target(torch.cat([seen, rest], 1).unsqueeze(-1)).unsqueeze(2)]
        h = torch.cat(cells, 2)
        for block in self.blocks:
            h = block(h, train_rows)
        return self.decoder(h[:, train_rows:, -1])


def training_case(tables, rows, features, train_rows):
    model = NanoTabPFN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    x, y = torch.randn(tables, rows, features), torch.randint(0, 2, (tables, rows))

    def step():
        optimizer.zero_grad()
        logits = model(x, y.float(), train_rows)
        F.cross_entropy(logits.flatten(0, 1), y[:, train_rows:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


CASES = {
    "forward": lambda size, n: sdpa_case(size, n, False),
    "backward": lambda size, n: sdpa_case(size, n, True),
    "train": training_case,
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
