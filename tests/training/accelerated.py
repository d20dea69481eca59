"""Steps of learners on the fake accelerator, printed as JSON: what each raised and what left it.

python tests/training/accelerated.py
"""

import json
import sys
import warnings
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

# Ours before tests: beside the fake accelerator there is a folder `rewards`, too.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from fake_accelerator import DEVICE, fake_accelerator, move, off_the_cpu
from torch.utils._python_dispatch import _disable_current_modes

from rlpeft.adapters.groups import parameter_groups
from rlpeft.build import build_learner
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import parse_recipe
from rlpeft.training import learner as learning
from rlpeft.training.packing import Sample, pack

ADAPTERS = ("svf", "lora", "dora", "ia3", "hyplora", "moslora")

FORGOTTEN = (
    "tokens_T",
    "positions_T",
    "sources_N",
    "targets_N",
    "logprobs_N",
    "advantages_N",
    "weights_N",
    "prompts_PL",
    "completions_SC",
    "keys_SK",
    "places_T",
    "starts_S",
)
"""What is left on the CPU, one at a time; those of `Groups` are indices, or make the mask."""

SAMPLES = [
    Sample(prompt, completion, (-1.0,) * len(completion), advantage)
    for prompt, completion, advantage in (
        ((5, 6, 7), (8, 9, 2), 1.0),
        ((5, 6, 7), (9, 2), -1.0),
        ((5, 6), (9, 2), 0.5),
    )
]


def without_values(record):
    """The record with tensors that have none: packing asks tensors for their values."""
    changed = {}
    for each in fields(record):
        value = getattr(record, each.name)
        if is_dataclass(value):
            changed[each.name] = without_values(value)
        elif isinstance(value, torch.Tensor):
            changed[each.name] = torch.empty(value.shape, dtype=value.dtype)
    return replace(record, **changed)


def packed(*args, **kwargs):
    with _disable_current_modes():
        batches = list(pack(*args, **kwargs))
    return [without_values(batch) for batch in batches]


class Forgetful:
    """A micro-batch of which one tensor stays where it is."""

    def __init__(self, batch, name):
        self.batch, self.name, self.share = batch, name, batch.share

    def to(self, device):
        moved, name = self.batch.to(device), self.name
        if hasattr(moved, name):
            return replace(moved, **{name: getattr(self.batch, name)})
        kept = getattr(self.batch.groups, name)
        return replace(moved, groups=replace(moved.groups, **{name: kept}))


def step(base, adapter, forgotten=None):
    """What one step raised, and which tensors of what leaves the learner are not on the CPU."""
    recipe = parse_recipe(
        {
            "name": "accelerated",
            "model": {"name": "tiny"},
            "task": {"name": "tiny/swap"},
            "reward": [{"name": "exact"}],
            "adapter": {"type": adapter},
            "loss": {"kl_coef": 0.1, "kl": "full"},
        },
        source="accelerated",
    )
    learner = build_learner(recipe, base)
    with fake_accelerator():
        move(learner.policy)
        learner.parameters = {n: p for n, p in learner.policy.named_parameters() if p.requires_grad}
        groups = parameter_groups(learner.policy, lr=0.01, weight_decay=0.1)
        learner.optimizer = torch.optim.AdamW(groups)
        learner.schedule = learning._schedule(learner.optimizer, recipe.learner, 10)
        batches = packed(SAMPLES, token_budget=100)
        if forgotten is not None:
            batches = [Forgetful(batch, forgotten) for batch in batches]
        learning.pack = lambda *args, **kwargs: batches
        learner.adapter_metrics = dict  # they count values
        assert learner.device.type == DEVICE.type
        try:
            metrics = learner.step(SAMPLES)
        except RuntimeError as error:
            return {"raised": str(error)}
        left = [metrics, learner.state_dict(), dict(learner.adapter_state().tensors)]
        return {"raised": None, "left": off_the_cpu(left)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of addresses of tensors that have none
    tiny = BaseModel.open("tiny")
    found = {adapter: step(tiny, adapter) for adapter in ADAPTERS}
    found |= {name: step(tiny, "svf", forgotten=name) for name in FORGOTTEN}
    print(json.dumps(found))
