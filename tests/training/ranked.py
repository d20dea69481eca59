"""One of two ranks of a learner: what both see of steps that they share, printed as JSON.

python tests/training/ranked.py WORLD_RANK URL
"""

import json
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from rlpeft.adapter_state import tensors_digest
from rlpeft.adapters.svf.layer import SvfLinear
from rlpeft.build import build_learner
from rlpeft.errors import RlpeftError
from rlpeft.models.base import BaseModel
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import parse_recipe
from rlpeft.training.packing import Sample
from rlpeft.training.ranks import ALONE, Ranks
from rlpeft.training.shard import held_bytes

ADAPTERS = {
    "svf": {"type": "svf"},
    "lora": {"type": "lora", "rank": 4},
    "moslora": {"type": "moslora", "rank": 8},
}

SAMPLES = [
    Sample((5, 6, 7, 4 + group), tuple(8 + at for at in range(2 + group + member)), (), advantage)
    for group in range(4)
    for member, advantage in enumerate((1.0, -0.5, -0.4))
]
SAMPLES = [replace(sample, logprobs=(-2.0,) * len(sample.completion_ids)) for sample in SAMPLES]
"""Groups of unlike size: no two micro-batches are alike."""

BUDGET = 24
"""Every group is a micro-batch or two."""


def learner_of(adapter, ranks, **options):
    tree = {
        "name": "ranked",
        "model": {"name": "tiny"},
        "task": {"name": "tiny/swap"},
        "adapter": adapter,
        "learner": {"lr": 0.02, "token_budget": BUDGET} | options,
        "loss": {"kl_coef": 0.1},
        "reward": [{"name": "exact"}],
        "resources": {"learners": max(2, ranks.size)},
    }
    recipe = parse_recipe(tree, source="ranked")
    if ranks.world_rank:  # a seed of its own: the first one's adapter must win
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": 7})})
    learner = build_learner(recipe, BaseModel.open("tiny"))
    if ranks.size > 1:
        learner.join(ranks)
    return learner


def flat_gradient(learner):
    return torch.cat([p.grad.flatten() for p in learner.parameters.values()])


def error_of(learner, alone, samples):
    """Of two ranks' gradient, relative to one's, from the same adapter."""
    alone.load_state_dict(learner.state_dict())
    learner.forward_backward(samples)
    learner.ranks.sum_gradients(learner.parameters.values())
    alone.forward_backward(samples)
    ours, one = flat_gradient(learner), flat_gradient(alone)
    learner.optimizer.zero_grad(), alone.optimizer.zero_grad()
    return float((ours - one).norm() / one.norm())


def shared_steps(adapter, ranks):
    learner, alone = learner_of(adapter, ranks), learner_of(adapter, ALONE)
    first = learner.step(SAMPLES)
    moved = learner.adapter_state().digest
    return {"error": error_of(learner, alone, SAMPLES), "metrics": first, "moved": moved}


def sharded(adapter, ranks, **options):
    """Each rank's part of the model against the whole of it, in the same form."""
    learner = learner_of(adapter, ranks, parallel="shard", **options)
    alone = learner_of(adapter, ALONE, **options)
    for module in alone.policy.modules():
        if isinstance(module, SvfLinear):
            module.make_shardable()
    whole = held_bytes(alone.policy)
    errors = [error_of(learner, alone, samples) for samples in (SAMPLES, SAMPLES[:1])]
    learner.step(SAMPLES)
    canary = [[5, 6, 7], [8, 9]]
    alone.load_state_dict(deepcopy(learner.state_dict()))
    gap = largest_gap(learner.logprobs(canary), alone.logprobs(canary))
    return {
        "errors": errors,
        "held": held_bytes(learner.policy) / whole,
        "moved": learner.adapter_state().digest,
        "gap": gap,
    }


def sharded_and_broken(ranks):
    """A loss that is not finite on one rank, between gathers."""
    learner = learner_of({"type": "svf"}, ranks, parallel="shard")
    bad = replace(SAMPLES[0], advantage=float("nan"))
    return raised(lambda: learner.step([bad, *SAMPLES[3:]]))


def raised(do):
    try:
        do()
    except RlpeftError as error:
        return {"kind": type(error).__name__, "text": str(error)}
    return None


def broken(ranks):
    """A loss that is not finite in one micro-batch, of one rank."""
    learner = learner_of({"type": "svf"}, ranks)
    before = learner.adapter_state().digest
    bad = replace(SAMPLES[0], advantage=float("nan"))
    found = raised(lambda: learner.step([bad, *SAMPLES[3:]]))
    clean = all(p.grad is None for p in learner.parameters.values())
    return found | {"clean": clean, "same": learner.adapter_state().digest == before}


def defective(ranks):
    """An exception that is none of ours, on the second rank alone."""

    def work():
        if ranks.world_rank:
            raise MemoryError("no room")
        return 1

    try:
        return raised(lambda: ranks.together(work))
    except MemoryError:
        return {"kind": "MemoryError"}


def few(ranks):
    """One completion: a step in which the second rank has nothing to do."""
    learner, alone = learner_of({"type": "svf"}, ranks), learner_of({"type": "svf"}, ALONE)
    error = error_of(learner, alone, SAMPLES[:1])
    empty = learner.step([Sample((5,), (), (), 1.0)])
    return {"error": error, "empty": empty}


def apart(ranks):
    """An adapter that has come apart."""
    learner = learner_of({"type": "svf"}, ranks)
    if ranks.world_rank:
        with torch.no_grad():
            next(iter(learner.parameters.values())).mul_(1.001)
    return raised(lambda: learner.step(SAMPLES))


def resumed(ranks):
    """A state of two ranks, gone on with by two, bit for bit, and by one."""
    learner = learner_of({"type": "svf"}, ranks)
    learner.step(SAMPLES)
    kept = learner.state_dict()
    learner.step(SAMPLES)
    straight, before = learner.adapter_state().tensors, kept["parameters"]
    again, alone = learner_of({"type": "svf"}, ranks), learner_of({"type": "svf"}, ALONE)
    for each in (again, alone):
        each.load_state_dict(deepcopy(kept))  # an optimizer writes to the moments it is given
        each.step(SAMPLES)
    same = tensors_digest(straight) == again.adapter_state().digest
    one = alone.adapter_state().tensors
    gap = torch.cat([straight[name] - one[name] for name in one]).norm()
    move = torch.cat([p - before[name] for name, p in alone.parameters.items()]).norm()
    return {"same": same, "gap": float(gap / move)}


def stalled(ranks):
    """The second rank takes longer than the first waits; the last, for the group is spoiled."""
    hasty = replace(ranks, timeout_s=1.0)
    return raised(lambda: hasty.together(lambda: time.sleep(3 * ranks.world_rank)))


def main(world_rank, url):
    torch.set_num_threads(1)
    ranks = Ranks.meet(url, world_rank, 2, timeout_s=60, device=torch.device("cpu"))
    found = {name: shared_steps(adapter, ranks) for name, adapter in ADAPTERS.items()}
    found["sharded"] = {name: sharded(adapter, ranks) for name, adapter in ADAPTERS.items()}
    svf = ADAPTERS["svf"]
    found["sharded"]["checkpointed"] = sharded(svf, ranks, gradient_checkpointing=True)
    found["sharded_and_broken"] = sharded_and_broken(ranks)
    for do in (broken, defective, few, apart, resumed, stalled):
        found[do.__name__] = do(ranks)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
