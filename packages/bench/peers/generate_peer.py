"""transformers' side of `plumb bench generate`: answers each line of standard input (src/perf/generation.ts) by one line of JSON.

generate_peer.py SHAPE [MODEL.gguf]; float32 on the CPU. SHAPE is JSON; without a model the weights are those that a new model has.
"""

import json
import os
import resource
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

transformers.logging.set_verbosity_error()
torch.manual_seed(1)


def say(answer):
    print(json.dumps(answer), flush=True)


def load(shape, path):
    if path:
        folder, name = os.path.split(os.path.abspath(path))
        return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape["vocabSize"],
            hidden_size=shape["width"],
            intermediate_size=shape["mlpWidth"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kvHeads"],
            max_position_embeddings=shape["contextLength"],
            rope_theta=shape["ropeTheta"],
            tie_word_embeddings=True,
        )
    ).to(torch.float32)


model = load(json.loads(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None).eval()
say({"name": "transformers", "version": f"{transformers.__version__} on torch {torch.__version__}", "device": "CPU", "threads": torch.get_num_threads()})


def generate(batch, prompt, tokens):
    ids = torch.randint(100, 4000, (batch, prompt))
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
    assert out.shape[1] == prompt + tokens
    return time.perf_counter() - start


optimizer = None


def train(sequences, tokens):
    """Forward, backward, clipping and AdamW of the whole model."""
    global optimizer
    if optimizer is None:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(100, 4000, (sequences, tokens))
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss.item()
    return time.perf_counter() - start


for line in sys.stdin:
    request = json.loads(line)
    try:
        if "generate" in request:
            o = request["generate"]
            say({"seconds": generate(o["batch"], o["promptTokens"], o["tokens"])})
        elif "train" in request:
            say({"seconds": train(request["train"]["sequences"], request["train"]["tokens"])})
        else:
            say({"peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
    except Exception as error:
        say({"error": str(error)})
