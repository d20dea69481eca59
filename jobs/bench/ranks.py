"""Two ranks of a learner, a process and a thread each, against the first of them alone.

Both sides are the same learner from the same state, in turn; while it is alone the other waits.
How far two processes help at all the machine decides, whose cores may be threads of one: the floor
is two whole steps side by side, without any exchange, in the same minutes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch.multiprocessing.spawn import spawn

from jobs.bench.learner import EVEN, samples
from jobs.bench.rows import BenchRow
from rlpeft.files import read_json, write_json
from rlpeft.recipe.run import LearnerConfig, LossConfig, SvfAdapter
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample
from rlpeft.training.ranks import ALONE, Ranks
from rlpeft.training.shard import held_bytes

BUDGET = 1152
"""Tokens of a micro-batch: each rank has two of them."""

LEAST_SPEEDUP, MOST_ERROR, MOST_HELD = 1.75, 1e-6, 0.55
TIMEOUT_S = 1800.0


def rows(*, model: str, repeats: int = 3) -> Iterator[BenchRow]:
    """Seconds of a step, the gradient's error, and what a rank holds."""
    with TemporaryDirectory() as folder:
        spawn(_rank, (model, repeats, folder), nprocs=2)
        found = read_json(_result(folder))
    ours, one, beside = (statistics.median(found[side]) for side in ("two", "one", "beside"))
    what = f"({model}, {EVEN}, micro-batches of {BUDGET})"
    yield BenchRow(
        figure=f"learner step of two ranks over gloo, a thread each, against one {what}",
        ours=ours,
        peer=one,
        ratio=one / ours,
        unit="s",
        floor=f"{2 * one / beside:.2f} x: two steps side by side on this machine",
        goal=f">= {LEAST_SPEEDUP} x faster",
        met=one / ours >= LEAST_SPEEDUP,
    )
    yield _error_row(f"replicated {what}", max(found["errors"]))
    yield _error_row(f"sharded {what}", found["sharded_error"])
    ratio = found["held"] / found["whole"]
    yield BenchRow(
        figure=f"sharded: base and basis that a rank of two holds after a step ({model})",
        ours=found["held"] / 1e6,
        peer=found["whole"] / 1e6,
        ratio=ratio,
        unit="MB",
        floor="0.5 x",
        goal=f"<= {MOST_HELD} x",
        met=ratio <= MOST_HELD,
    )


def _error_row(what: str, error: float) -> BenchRow:
    return BenchRow(
        figure=f"gradient of two ranks against that of one, relative: {what}",
        ours=error,
        peer=0.0,
        ratio=error,
        unit="",
        floor="6e-8, the rounding of fp32",
        goal=f"<= {MOST_ERROR:g}",
        met=error <= MOST_ERROR,
    )


def _rank(world_rank: int, model: str, repeats: int, folder: str) -> None:
    """One rank; the first writes what was found."""
    torch.set_num_threads(1)
    learner, batch = _learner(model, "replicate")
    device = torch.device("cpu")
    ranks = Ranks.meet(f"file://{folder}/ranks", world_rank, 2, timeout_s=TIMEOUT_S, device=device)
    learner.join(ranks)
    kept = learner.state_dict()
    found: dict[str, Any] = {"two": [], "one": [], "beside": [], "errors": []}
    for repeat in range(1 + repeats):
        two_s, gradient = _step(learner, ranks, batch, kept)
        alone = partial(_step, learner, ALONE, batch, kept)
        # The other rank waits at the end of what is not its work.
        (one, *_) = ranks.together(alone if world_rank == 0 else lambda: None)
        beside = ranks.together(alone)
        if world_rank == 0 and one is not None and repeat:  # the first round warms up
            found["two"].append(two_s)
            found["one"].append(one[0])
            found["beside"].append(max(seconds for seconds, _ in beside))
            found["errors"].append(_error(gradient, one[1]))
    del learner
    found |= _sharded(model, ranks)
    if world_rank == 0:
        write_json(_result(folder), found)


def _sharded(model: str, ranks: Ranks) -> dict[str, float]:
    """Bytes of base and basis, whole and a rank's, and the gradient's error in the same form."""
    from rlpeft.adapters.policy import make_shardable

    learner, batch = _learner(model, "shard")
    make_shardable(learner.policy)
    whole, kept = held_bytes(learner.policy), learner.state_dict()
    alone = partial(_step, learner, ALONE, batch, kept)
    (one, *_) = ranks.together(alone if ranks.world_rank == 0 else lambda: None)
    learner.join(ranks)
    _, gradient = _step(learner, ranks, batch, kept)
    found = {"whole": float(whole), "held": float(held_bytes(learner.policy))}
    return found if one is None else found | {"sharded_error": _error(gradient, one[1])}


def _error(ours: torch.Tensor, one: torch.Tensor) -> float:
    return float((ours - one).norm() / one.norm())


def _step(
    learner: LocalLearner, ranks: Ranks, batch: list[Sample], kept: Mapping[str, Any]
) -> tuple[float, torch.Tensor]:
    """Seconds of one step from a state, and its gradient, by its first moment in AdamW."""
    learner.ranks = ranks
    learner.load_state_dict(kept)
    ranks.together(lambda: None)  # both begin together
    started = time.perf_counter()
    learner.step(batch)
    seconds = time.perf_counter() - started
    moments = [learner.optimizer.state[p]["exp_avg"] for p in learner.parameters.values()]
    return seconds, torch.cat([moment.flatten() for moment in moments])


def _learner(
    model: str, parallel: Literal["replicate", "shard"]
) -> tuple[LocalLearner, list[Sample]]:
    from rlpeft.adapters.policy import attach_adapter
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.load import load_base_model

    base = load_base_model(resolve_model(model), "float32")
    learner = LocalLearner(
        attach_adapter(base, SvfAdapter(), seed=0),
        LearnerConfig(lr=1e-4, token_budget=BUDGET, parallel=parallel),
        LossConfig(ratio_cap=0),
        total_steps=1000,
        temperature=1.0,
    )
    return learner, samples(EVEN, base.config.vocab_size)


def _result(folder: str) -> Path:
    return Path(folder) / "found.json"
