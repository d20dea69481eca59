"""Whether the run fits into memory, as an estimate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from rlpeft.adapters.methods import named
from rlpeft.doctor.row import Check, fail, ok, warn
from rlpeft.recipe.run import Recipe

SAFE_SHARE = 0.8
"""Share of the free memory above which an estimate is worth a warning."""


def check_memory(recipe: Recipe, learner: Any) -> Check:
    """Estimated peak against what is free on this machine."""
    need, free = memory_estimate(recipe, learner), free_memory()
    found = f"about {need / 2**30:.2f} GiB for learner and engines"
    if free is None:
        return ok("memory", f"{found}; what is free cannot be read here")
    found += f", {free / 2**30:.2f} GiB free"
    advice = "Lower learner.token_budget or rollout.num_engines, or set gradient_checkpointing."
    if need > free:
        return fail("memory", found, advice)
    return warn("memory", found, advice) if need > SAFE_SHARE * free else ok("memory", found)


def memory_estimate(recipe: Recipe, learner: Any) -> int:
    """Bytes at the peak of a step: weights, what layers keep beside them, optimizer, activations,
    logits."""
    policy = learner.policy
    config = policy.get_base_model().config.get_text_config()
    weights = sum(t.numel() * t.element_size() for t in (*policy.parameters(), *policy.buffers()))
    held = named(recipe.adapter.type).held_bytes
    dense = sum(held(layer) for layer in policy.modules() if isinstance(layer, BaseTunerLayer))
    optimizer = 12 * sum(p.numel() for p in learner.parameters.values())
    width = 4 * config.hidden_size
    # Per token and layer: two norms, q, k, v, attention and MLP inputs, or one if recomputed.
    kept = width if recipe.learner.gradient_checkpointing else 8 * width + 12 * _mlp_size(config)
    activations = recipe.learner.token_budget * config.num_hidden_layers * kept
    logits = 3 * 4 * recipe.learner.logit_chunk * config.vocab_size
    engines = recipe.rollout.num_engines * (weights + dense)
    return int(weights + dense + optimizer + activations + logits + engines)


def _mlp_size(config: Any) -> int:
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def free_memory() -> int | None:
    """Bytes free on the device that trains; `None` where it cannot be told."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass  # not Linux: the total is the best that the standard library knows
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
