"""TRL's side of `plumb bench trl` (src/perf/trl.ts): one task in one precision. trl_peer.py WORK.json

Answers the one line that it is sent by the seconds of each step and the largest resident memory. TRL at its defaults but for what the work says; batches are
of 4 rows (32 completions), without accumulation.
"""

import json
import os
import resource
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # standard output is for answers


def say(answer):
    print(json.dumps(answer), file=out, flush=True)


work = json.load(open(sys.argv[1]))
transformers.logging.set_verbosity_error()
torch.manual_seed(1)
folder, name = os.path.split(os.path.abspath(work["model"]))
dtype = torch.bfloat16 if work["precision"] == "bf16" else torch.float32
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
say({"name": "trl", "version": f"{trl.__version__} on torch {torch.__version__}", "device": "CPU", "threads": torch.get_num_threads()})


class Clock(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.steps.append(time.perf_counter() - self.begin)


def peft(task):
    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type=task)


def settings(rows):
    return dict(
        output_dir=tempfile.mkdtemp(),
        max_steps=work["steps"],
        per_device_train_batch_size=rows,
        learning_rate=1e-5,
        bf16=work["precision"] == "bf16",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )


def pairs():
    return Dataset.from_list(work["pairs"])


def causal():
    """The model as if it had come from safetensors: what transformers reads from GGUF calls itself quantised, and is not trained."""
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=dtype)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(read)(config).to(dtype)
    model.load_state_dict(read.state_dict())
    return model


def trainer(clock):
    task = work["task"]
    common = dict(processing_class=tokenizer, callbacks=[clock])
    if task == "dpo":
        args = trl.DPOConfig(**settings(4), max_length=work["maxTokens"])
        return trl.DPOTrainer(model=causal(), args=args, train_dataset=pairs(), peft_config=peft("CAUSAL_LM"), **common)
    if task == "reward":
        backbone = causal()  # the head is put on its backbone
        config = backbone.config
        config.num_labels = 1
        config.pad_token_id = tokenizer.pad_token_id
        model = transformers.LlamaForSequenceClassification(config).to(dtype)
        model.model.load_state_dict(backbone.model.state_dict())
        del backbone
        args = trl.RewardConfig(**settings(4), max_length=work["maxTokens"])
        return trl.RewardTrainer(model=model, args=args, train_dataset=pairs(), peft_config=peft("SEQ_CLS"), **common)
    args = trl.GRPOConfig(
        **settings(4 * work["samplesPerPrompt"]),
        num_generations=work["samplesPerPrompt"],
        max_completion_length=work["newTokens"],
        generation_kwargs={"min_new_tokens": work["newTokens"]},
    )
    rows = Dataset.from_list([{"prompt": prompt} for prompt in work["prompts"]])
    reward = lambda completions, **_: [float(len(text)) for text in completions]  # noqa: E731
    return trl.GRPOTrainer(model=causal(), reward_funcs=reward, args=args, train_dataset=rows, peft_config=peft("CAUSAL_LM"), **common)


for line in sys.stdin:
    if "run" not in json.loads(line):
        break
    try:
        clock = Clock()
        trainer(clock).train()
        say({"steps": clock.steps, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
    except Exception as error:  # the bench says it in one line
        say({"error": f"{type(error).__name__}: {error}"})
