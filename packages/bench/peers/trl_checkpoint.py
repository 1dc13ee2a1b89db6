"""A checkpoint of TRL with its log: trl_checkpoint.py apps/cli/test/fixtures/trl-dpo-checkpoint

Four steps of DPO by LoRA on zoo:words-1m in float32, and what TRL measured of the pairs in the end. Run from the root of the repository. The adapter names its base as `zoo:words-1m`.
"""

import json
import os
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

base = os.path.abspath("packages/zoo/words-1m")
names = ["Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry"]
pairs = Dataset.from_list(
    [{"prompt": f"Once there was a child named {name}.", "chosen": f" {name} was happy.", "rejected": f" {name} cried."} for name in names]
)
tokenizer = AutoTokenizer.from_pretrained(base)
tokenizer.pad_token = tokenizer.eos_token
out = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    DPOTrainer(
        base,
        args=DPOConfig(
            output_dir=folder,
            model_init_kwargs={"dtype": torch.float32},
            per_device_train_batch_size=4,
            max_steps=4,
            logging_steps=1,
            eval_strategy="steps",
            eval_steps=2,
            save_steps=4,
            learning_rate=1e-3,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=pairs,
        eval_dataset=pairs,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    ).train()
    os.makedirs(out, exist_ok=True)
    for name in ["adapter_config.json", "adapter_model.safetensors", "trainer_state.json"]:
        shutil.copyfile(os.path.join(folder, "checkpoint-4", name), os.path.join(out, name))
config = os.path.join(out, "adapter_config.json")
with open(config) as file:
    held = json.load(file)
with open(config, "w") as file:
    json.dump({**held, "base_model_name_or_path": "zoo:words-1m"}, file, indent=2)
