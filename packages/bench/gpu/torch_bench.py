"""The figures of bench.mjs in PyTorch: python3 torch_bench.py PLAN, PLAN as bench.mjs makes it. Prints one line of JSON."""

import json
import sys
import time

import torch
import torch.nn.functional as F

plan = json.loads(sys.argv[1])
cuda = torch.cuda.is_available()
device = "cuda" if cuda else "cpu"
torch.manual_seed(1)
figures = {}


def wait():
    if cuda:
        torch.cuda.synchronize()


def best(f, repeats=5):
    f()
    wait()
    least = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        wait()
        least = min(least, time.perf_counter() - start)
    return least


kinds = [("float32", torch.float32, False), ("bf16", torch.bfloat16, False)] + ([("tf32", torch.float32, True)] if cuda else [])
for n in plan["sizes"]:
    for name, dtype, tf32 in kinds:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        figures[f"product {n} {name}"] = f"{2 * n**3 / best(lambda: a @ b) / 1e12:.2f} TFLOP/s"
torch.backends.cuda.matmul.allow_tf32 = False


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
        frequencies = 10000 ** (-torch.arange(0, self.head_dim, 2, device=ids.device) / self.head_dim)
        angles = torch.arange(start, start + ids.shape[1], device=ids.device)[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        x = self.embedding(ids)
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, None if caches is None else caches[i])
        return F.linear(self.norm(x), self.embedding.weight)


def train(bf16):
    model = Decoder(**plan["model"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=cuda)
    seconds, losses = [], []
    for step in range(plan["steps"] + 1):
        ids = torch.randint(plan["model"]["vocabSize"], (plan["sequences"], plan["tokens"] + 1), device=device)
        wait()
        start = time.perf_counter()
        total = 0.0
        for micro in ids.split(plan["micro"]):
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = model(micro[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), micro[:, 1:].flatten()) * (len(micro) / len(ids))
            loss.backward()
            total = total + loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(total))
        if step > 0:
            seconds.append(time.perf_counter() - start)
    mean = sum(seconds) / len(seconds)
    return f"{mean:.3f} s a step of {plan['sequences']} x {plan['tokens']} tokens, loss {losses[0]:.3f} to {losses[-1]:.3f}"


figures["training, float32"] = train(False)
figures["training, bf16 autocast"] = train(True)

with torch.no_grad():
    model = Decoder(**plan["model"]).to(device).eval()
    prompts = torch.randint(plan["model"]["vocabSize"], (plan["sequences"], 32), device=device)

    def generate(count):
        caches = [[] for _ in model.blocks]
        logits = model(prompts, 0, caches)[:, -1]
        for i in range(count):
            ids = torch.multinomial(logits.softmax(-1), 1)
            logits = model(ids, 32 + i, caches)[:, -1]
        wait()

    generate(2)
    start = time.perf_counter()
    generate(plan["generate"])
    rate = plan["sequences"] * plan["generate"] / (time.perf_counter() - start)
    figures["generation, float32"] = f"{rate:.0f} tokens/s, {plan['sequences']} sequences of {plan['generate']} after 32"

name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
print(json.dumps({"device": name, "version": torch.__version__, "figures": figures}))
