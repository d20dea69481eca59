"""Whether the run fits into memory, as an estimate: what is allocated, and on which device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from rlpeft.adapters.methods import named
from rlpeft.doctor.row import Check, fail, ok, warn
from rlpeft.models.quantised import stored
from rlpeft.recipe.run import Recipe

SAFE_SHARE = 0.8
"""Share of the free memory above which an estimate is worth a warning."""


@dataclass(frozen=True)
class Demand:
    """What one device has to hold, in bytes.

    Attributes:
        of: who needs it.
        need: at the peak of a step.
        free: what there is; `None` where it cannot be told.
    """

    of: str
    need: int
    free: int | None

    @property
    def share(self) -> float:
        """Needed of what is free."""
        return self.need / self.free if self.free else 0.0

    def __str__(self) -> str:
        found = f"about {self.need / 2**30:.2f} GiB for {self.of}"
        if self.free is None:
            return f"{found}; what is free cannot be read here"
        return f"{found}, {self.free / 2**30:.2f} GiB free"


def check_memory(recipe: Recipe, learner: Any) -> Check:
    """Estimated peaks against what is free."""
    found = list(demands(recipe, learner))
    text, share = "; ".join(map(str, found)), max(demand.share for demand in found)
    advice = (
        "Lower learner.token_budget or rollout.num_engines, set gradient_checkpointing, or raise "
        "rollout.tensor_parallel."
    )
    if share > 1:
        return fail("memory", text, advice)
    return warn("memory", text, advice) if share > SAFE_SHARE else ok("memory", text)


def demands(recipe: Recipe, learner: Any) -> Iterator[Demand]:
    """What each device has to hold; learner ranks and engines on GPUs of their own are alike."""
    mine, engine = learner_bytes(recipe, learner), engine_bytes(recipe, learner)
    number, gpus = recipe.rollout.num_engines, recipe.resources
    if learner.device.type != "cuda":
        every = gpus.learners * mine + number * engine
        yield Demand("learner and engines", every, free_memory())
        return
    total = int(torch.cuda.get_device_properties(learner.device).total_memory)
    if not gpus.engine_gpus or gpus.learner_gpus + gpus.engine_gpus <= 1:
        yield Demand("learner and engine, on one GPU", mine + engine, total)
        return
    whose = "the learner, on its GPU" if gpus.learners == 1 else "each learner rank, on its GPU"
    yield Demand(whose, mine, total)
    workers = recipe.rollout.tensor_parallel
    whose = "each engine, on its GPU" if workers == 1 else "each worker of an engine, on its GPU"
    yield Demand(whose, engine // workers, int(total * min(1.0, gpus.engine_gpus)))


def learner_bytes(recipe: Recipe, learner: Any) -> int:
    """Bytes of the learner at the peak of a step: weights, what layers keep beside them, optimizer,
    activations, logits."""
    policy = learner.policy
    config = policy.get_base_model().config.get_text_config()
    optimizer = 12 * sum(p.numel() for p in learner.parameters.values())
    size = policy.dtype.itemsize
    width = size * config.hidden_size
    # Per token and layer: two norms, q, k, v, attention and MLP inputs.
    inner = 3 * size * _mlp_size(config)
    whole, layers = 8 * width + inner, config.num_hidden_layers
    # Recomputed, the layers keep their inputs and one at a time what is inside.
    kept = layers * width + whole if recipe.learner.gradient_checkpointing else layers * whole
    activations = recipe.learner.token_budget * kept
    logits = 3 * 4 * recipe.learner.logit_chunk * config.vocab_size
    if recipe.learner.parallel == "shard":  # which keeps nothing beside the weights
        weights = own_bytes(policy) / recipe.resources.learners
    else:
        weights = _weights(recipe, policy)
    return int(weights + optimizer + activations + logits)


def engine_bytes(recipe: Recipe, learner: Any) -> int:
    """Bytes of one engine's weights, in its own dtype, with what its layers keep beside them."""
    policy = learner.policy
    if recipe.model.quantisation:
        return _weights(recipe, policy)
    size = getattr(torch, recipe.engine.dtype).itemsize
    return _weights(recipe, policy) * size // policy.dtype.itemsize


def _weights(recipe: Recipe, policy: Any) -> int:
    held = named(recipe.adapter.type).held_bytes
    beside = sum(held(layer) for layer in policy.modules() if isinstance(layer, BaseTunerLayer))
    return beside + own_bytes(policy)


def own_bytes(policy: Any) -> int:
    """Of parameters and buffers as they are kept, quantised or not."""
    tensors = (*policy.parameters(), *policy.buffers())
    return sum(part.nbytes for tensor in tensors for part in stored(tensor))


def _mlp_size(config: Any) -> int:
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def free_memory() -> int | None:
    """Bytes of memory that are free on this machine; `None` where it cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass  # not Linux: the total is the best that the standard library knows
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
