"""The settings of TRL's trainers with their defaults, as a trainer gets them: trl_defaults.py > apps/cli/test/fixtures/trl-defaults.json

docs/coming-from-trl.md is held against them. A default that the class itself fills in (`__post_init__`) counts as filled in. Left out is what belongs to the machine or to this script.
"""

import dataclasses
import enum
import json
import os
import tempfile

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import transformers
import trl
from trl import DPOConfig, GRPOConfig, RewardConfig, RLOOConfig, SFTConfig
from trl.experimental.cpo import CPOConfig
from trl.experimental.gkd import GKDConfig
from trl.experimental.online_dpo import OnlineDPOConfig
from trl.experimental.orpo import ORPOConfig
from trl.experimental.tpo import TPOConfig

try:
    from trl import KTOConfig
except ImportError:
    from trl.experimental.kto import KTOConfig


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


answer = {"trl": trl.__version__, "transformers": transformers.__version__, "defaults": {}}
with tempfile.TemporaryDirectory() as folder:
    for config in (SFTConfig, RewardConfig, DPOConfig, KTOConfig, GRPOConfig, RLOOConfig, CPOConfig, ORPOConfig, TPOConfig, OnlineDPOConfig, GKDConfig):
        made = config(output_dir=folder, report_to=[], use_cpu=True)
        values = {field.name: plain(getattr(made, field.name, None)) for field in dataclasses.fields(config)}
        for given in ("output_dir", "report_to", "use_cpu", "logging_dir", "run_name", "accelerator_config", "local_rank", "vllm_server_host"):
            values.pop(given, None)
        answer["defaults"][config.__name__] = dict(sorted(values.items()))
print(json.dumps(answer, indent=1))
