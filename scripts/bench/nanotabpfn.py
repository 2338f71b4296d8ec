"""nanoTabPFN in PyTorch, as anybody would write it: the peer of our training step."""
import torch
import torch.nn.functional as F


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


def training_step(tables, rows, features, train_rows, device="cpu"):
    """A function that does one step: forward, backward, clipping and update."""
    model = NanoTabPFN().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    x = torch.randn(tables, rows, features, device=device)
    y = torch.randint(0, 2, (tables, rows), device=device)

    def step():
        optimizer.zero_grad()
        logits = model(x, y.float(), train_rows)
        F.cross_entropy(logits.flatten(0, 1), y[:, train_rows:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
