"""The figures of bench.mjs in PyTorch: python3 torch_bench.py PLAN, PLAN as bench.mjs makes it. Prints one line of JSON."""

import json
import pathlib
import sys
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "peers"))
from decoder import Decoder  # noqa: E402

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
