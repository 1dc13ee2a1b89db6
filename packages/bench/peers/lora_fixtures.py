"""Makes packages/models/test/fixtures/lora: PEFT adapters on the tiny Llama beside it, what they give, and their gradients.

lora_fixtures.py FIXTURES, with transformers 5.24.0, peft 0.21.2 and torch 2.15.0; FIXTURES holds llama/.
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

fixtures = Path(sys.argv[1])
IDS = [[220, 107, 151, 126, 150, 79, 92, 93, 154], [59, 75, 139, 173, 179, 187, 0, 0, 0]]
MASK = [[1] * 9, [1] * 6 + [0] * 3]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "qv_r4": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "all_linear_r8_rslora": dict(r=8, lora_alpha=16, use_rslora=True, target_modules=LINEAR),
    "dora_r4": dict(r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "v_proj", "down_proj"]),
    "rank_pattern": dict(
        r=2,
        lora_alpha=4,
        target_modules=["q_proj", "o_proj"],
        rank_pattern={"o_proj": 6},
        alpha_pattern={"o_proj": 3},
        layers_to_transform=[1],
    ),
    "score_head_r4": dict(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], modules_to_save=["score"]),
}


def shaken(model):
    """B begins at 0, where an adapter says nothing: every trained tensor is moved, in the order of its name."""
    torch.manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            scale = 0.02 if "magnitude" in name else 0.2
            parameter.data.add_(torch.randn(parameter.shape) * scale)


for name, options in CASES.items():
    folder = fixtures / "lora" / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    scored = name == "score_head_r4"
    auto = AutoModelForSequenceClassification if scored else AutoModelForCausalLM
    extra = dict(num_labels=1, pad_token_id=0) if scored else {}
    base = auto.from_pretrained(fixtures / "llama", dtype=torch.float32, attn_implementation="eager", **extra).eval()
    if scored:
        base.score.weight.data.normal_(0, 0.3)
    ids, mask = torch.tensor(IDS), torch.tensor(MASK)
    run = lambda model: model(input_ids=ids, attention_mask=mask).logits.detach().clone()
    io = {"base": run(base)}
    if scored:
        io["head"] = base.score.weight.detach().clone()
    model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS" if scored else "CAUSAL_LM", **options)).eval()
    shaken(model)
    out = model(input_ids=ids, attention_mask=mask).logits
    if scored:
        loss = -torch.nn.functional.logsigmoid(out[0, 0] - out[1, 0])
    else:
        logps = torch.log_softmax(out[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
        loss = -(logps * mask[:, 1:]).sum() / mask[:, 1:].sum()
    loss.backward()
    io["logits"] = out.detach().clone()
    grads = {n: p.grad.contiguous() for n, p in model.named_parameters() if p.requires_grad}
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "llama"
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT writes a set
    (folder / "adapter_config.json").write_text(json.dumps(config) + "\n")
    merged = model.merge_and_unload()
    io["merged"] = run(merged)
    io["merged_q"] = merged.model.layers[1].self_attn.q_proj.weight.detach().clone()
    save_file({k: v.contiguous() for k, v in io.items()}, folder / "io.safetensors")
    save_file(grads, folder / "grads.safetensors")
    (folder / "io.json").write_text(json.dumps(dict(input_ids=IDS, attention_mask=MASK, loss_value=loss.item())) + "\n")
    print(f"{name}: loss {loss.item():.6f}, merged - adapter {(io['merged'] - io['logits']).abs().max():.1e}")
