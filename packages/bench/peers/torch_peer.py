"""PyTorch's side of `plumb bench`: answers each line of standard input (a request of src/perf/participant.ts) by one line of JSON.

torch_peer.py f32|bf16|compile [THREADS]: on the CPU, and the fused or built-in form of everything that has one. bf16 has tensors in
bfloat16, and trains by autocast; compile trains by torch.compile.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

from decoder import Decoder

mode = sys.argv[1]
dtype = torch.bfloat16 if mode == "bf16" else torch.float32
if len(sys.argv) > 2:
    torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(1)


def say(answer):
    print(json.dumps(answer), flush=True)


def adamw(parameters, weight_decay):
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=weight_decay, fused=True)


def differentiated(backward, inputs, weights, f):
    """Forward alone; or with the gradients of sum(f · weights) with regard to all inputs."""
    if not backward:
        return lambda: f(*inputs)
    for x in inputs:
        x.requires_grad_(True)

    def both():
        for x in inputs:
            x.grad = None
        (f(*inputs) * weights).sum().backward()

    return both


def autocast(f):
    """Under bfloat16 autocast, if that is what is measured."""
    if mode != "bf16":
        return f

    def cast(*x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return f(*x)

    return cast


def prepare(kernel, o):
    normal = torch.randn
    if kernel == "product":
        lead = [o["batch"]] if "batch" in o else []
        a = normal(*lead, *((o["k"], o["m"]) if o.get("transposeA") else (o["m"], o["k"]))).to(dtype)
        b = normal(*lead, *((o["n"], o["k"]) if o.get("transposeB") else (o["k"], o["n"]))).to(dtype)
        a, b = a.mT if o.get("transposeA") else a, b.mT if o.get("transposeB") else b
        return lambda: a @ b
    if kernel == "frozen":
        half = o["storage"] == "bf16"
        x = normal(o["rows"], o["k"]).to(torch.bfloat16 if half else torch.float32)
        values = normal(o["n"], o["k"]).to(x.dtype)
        weights = [values.clone() for _ in range(o["matrices"])]
        return lambda: [F.linear(x, w) for w in weights][-1]
    if kernel == "stream":
        x = normal(o["rows"], o["width"])
        y = normal(o["rows"], o["width"])
        return {
            "copy": lambda: y.copy_(x),
            "add": lambda: x + y,
            "relu": lambda: torch.relu(x),
            "exp": lambda: torch.exp(x),
            "tanh": lambda: torch.tanh(x),
            "softmax": lambda: torch.softmax(x, -1),
            "logSoftmax": lambda: torch.log_softmax(x, -1),
            "sum": lambda: x.sum(),
            "rowMeans": lambda: x.mean(1),
            "columnSums": lambda: x.sum(0),
            "rowMaxima": lambda: x.amax(1),
        }[o["what"]]
    if kernel == "rmsNorm":
        shape = (o["tokens"], o["width"])
        f = lambda x, weight: F.rms_norm(x, shape[1:], weight, 1e-5)
        return differentiated(o["gradients"], [normal(*shape), normal(shape[1])], normal(*shape), f)
    if kernel == "attention":
        shape = (o["sequences"], o["tokens"], o["heads"], o["headDim"])
        f = lambda q, k, v: F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True).transpose(1, 2)
        return differentiated(o["gradients"], [normal(*shape) for _ in range(3)], normal(*shape), f)
    if kernel == "tokenLogps":
        targets = torch.randint(o["vocabSize"], (o["tokens"],))
        f = lambda hidden, weight: -F.cross_entropy(F.linear(hidden, weight), targets, reduction="none")
        inputs = [normal(o["tokens"], o["width"]), normal(o["vocabSize"], o["width"])]
        return differentiated(o["gradients"], inputs, normal(o["tokens"]), autocast(f))
    if kernel == "adamW":
        parameters = [torch.nn.Parameter(normal(o["rows"], o["columns"])) for _ in range(o["tensors"])]
        for parameter in parameters:
            parameter.grad = normal(o["rows"], o["columns"])
        return adamw(parameters, 0.01).step
    if kernel == "train":
        model = Decoder(**o["model"])
        optimizer = adamw(model.parameters(), 0.0)
        text = torch.randint(o["model"]["vocabSize"], (64, o["sequences"], o["tokens"]))
        steps = iter(range(1_000_000))

        def loss_of(ids):
            logits = model.logits(model.hidden(ids)[:, :-1])  # every token but the first is predicted
            return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

        loss_of = torch.compile(loss_of) if mode == "compile" else autocast(loss_of)

        def step():
            loss = loss_of(text[next(steps) % len(text)])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(loss.detach())

        return step
    raise ValueError(f"PyTorch's side has no {kernel}")


def peak_bytes():
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def seconds_a_call(f, calls):
    with torch.set_grad_enabled(differentiable):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        return (time.perf_counter() - start) / calls


call = None
differentiable = False
say({"name": "pytorch", "device": "CPU", "version": torch.__version__, "threads": torch.get_num_threads()})
for line in sys.stdin:
    try:
        request = json.loads(line)
        if "open" in request:
            operation = request["open"]
            differentiable = operation["kernel"] == "train" or operation.get("gradients", False)
            call = prepare(operation["kernel"], operation)
            seconds_a_call(call, 1)
            say({"seconds": seconds_a_call(call, 1)})
        elif "calls" in request:
            say({"seconds": seconds_a_call(call, request["calls"])})
        else:
            call = None
            say({"peakBytes": peak_bytes()})
    except Exception as error:  # the next request may still work
        say({"error": f"{type(error).__name__}: {error}"})
