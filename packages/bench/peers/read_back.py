"""Reads what read_back.mjs wrote with transformers, peft and gguf, and says how far their logits are from ours.

read_back.py FOLDER; with transformers 5.24.0, peft 0.21.2, gguf 0.19.0 and torch 2.15.0. Ends with an error where float32 differs by more than 1e-3.
"""

import json
import sys
from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

folder = Path(sys.argv[1])
ours = json.loads((folder / "ours.json").read_text())
exact = dict(dtype=torch.float32, attn_implementation="eager")
failed = []


def last_logits(model):
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in ours["ids"]]


def compare(what, theirs, expected, bound=1e-3):
    gap = max((t - torch.tensor(e)).abs().max().item() for t, e in zip(theirs, expected))
    scale = max(torch.tensor(e).abs().max().item() for e in expected)
    print(f"{what:45} {gap:.2e} (numbers up to {scale:.1f})")
    if bound is not None and not gap < bound:
        failed.append(what)


base = AutoModelForCausalLM.from_pretrained(folder / "base", **exact).eval()
compare("base, transformers", last_logits(base), ours["base"])
adapted = PeftModel.from_pretrained(base, folder / "peft").eval()
compare("adapter on base, peft", last_logits(adapted), ours["adapted"])
auto = AutoPeftModelForCausalLM.from_pretrained(folder / "peft", **exact).eval()
compare("adapter that names its base, peft", last_logits(auto), ours["adapted"])
merged = AutoModelForCausalLM.from_pretrained(folder / "safetensors", **exact).eval()
compare("merged, transformers", last_logits(merged), ours["adapted"])

tokenizer = AutoTokenizer.from_pretrained(folder / "safetensors")
same = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ours["texts"]] == ours["ids"]
print(f"{'token ids of the texts, transformers':45} {'the same' if same else 'OTHERS'}")
if not same:
    failed.append("token ids")

for kind, bound in ("F32", 1e-3), ("F16", None), ("BF16", None), ("Q8_0", None):
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=f"model.{kind}.gguf", **exact).eval()
    compare(f"GGUF as {kind}, transformers", last_logits(model), ours["adapted"], bound)

score = AutoModelForSequenceClassification.from_pretrained(folder / "score-base", **exact).eval()


def scores(model):
    with torch.no_grad():
        return [model(input_ids=torch.tensor([ids])).logits[0, 0] for ids in ours["ids"]]


compare("scores, merged, transformers", scores(AutoModelForSequenceClassification.from_pretrained(folder / "score", **exact).eval()), ours["scores"])
compare("scores, adapter and its head, peft", scores(PeftModel.from_pretrained(score, folder / "score-peft").eval()), ours["scores"])
if failed:
    sys.exit(f"differ from ours: {', '.join(failed)}")
