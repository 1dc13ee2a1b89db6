"""A Llama-style decoder with tied embeddings, as @plumbline/models makes it."""

import torch
import torch.nn.functional as F


class Block(torch.nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.n1, self.n2 = torch.nn.RMSNorm(width, eps=1e-5), torch.nn.RMSNorm(width, eps=1e-5)
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        self.gate, self.up, self.down = linear(width, mlp), linear(width, mlp), linear(mlp, width)

    def forward(self, x, cos, sin, cache=None):
        n, t, width = x.shape
        q, k, v = self.qkv(self.n1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, width))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Decoder(torch.nn.Module):
    def __init__(self, vocabSize, width, layers, heads, mlpWidth):
        super().__init__()
        self.head_dim = width // heads
        self.embedding = torch.nn.Embedding(vocabSize, width)
        torch.nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = torch.nn.ModuleList(Block(width, heads, mlpWidth) for _ in range(layers))
        self.norm = torch.nn.RMSNorm(width, eps=1e-5)

    def forward(self, ids, start=0, caches=None):
        return self.logits(self.hidden(ids, start, caches))

    def logits(self, hidden):
        return F.linear(hidden, self.embedding.weight)

    def hidden(self, ids, start=0, caches=None):
        frequencies = 10000 ** (-torch.arange(0, self.head_dim, 2, device=ids.device) / self.head_dim)
        angles = torch.arange(start, start + ids.shape[1], device=ids.device)[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding(ids)
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, None if caches is None else caches[i])
        return self.norm(x)
