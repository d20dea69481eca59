"""What a step's micro-batches came to, on one rank and on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from rlpeft.training.ranks import over_ranks


class Worked(NamedTuple):
    """What one rank's part of a step came to.

    Attributes:
        records: of each micro-batch.
        told: by the adapter's method, of the last one.
        seconds: how long it took.
    """

    records: list[dict[str, torch.Tensor]]
    told: dict[str, float]
    seconds: float


def step_metrics(parts: Sequence[Worked]) -> dict[str, float]:
    """Metrics of a step from the parts of all ranks."""
    records = [record for part in parts for record in part.records]
    if not records:
        return {"loss": 0.0}
    return _of_tokens(records) | _balance(parts) | over_ranks([part.told for part in parts])


def _balance(parts: Sequence[Worked]) -> dict[str, float]:
    """How many ranks there are, and how long they work, as a share of how long the slowest does."""
    if len(parts) == 1:
        return {}
    seconds = [part.seconds for part in parts]
    balance = sum(seconds) / len(seconds) / max(seconds)
    return {"perf/learner_ranks": float(len(parts)), "perf/learner_balance": balance}


def _of_tokens(records: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, float]:
    joined = {key: torch.cat([record[key] for record in records]) for key in records[0]}
    ratio_N, gap_N = joined["ratio"], joined["gap"]
    means, sums = ("kl", "entropy"), ("loss", "auxiliary_loss")
    found: dict[str, float] = {n: float(joined[n].mean()) for n in means if n in joined}
    found |= {n: float(joined[n].sum()) for n in sums if n in joined}
    return found | {
        "sampling/importance_sampling_ratio/min": float(ratio_N.min()),
        "sampling/importance_sampling_ratio/mean": float(ratio_N.mean()),
        "sampling/importance_sampling_ratio/max": float(ratio_N.max()),
        "sampling/sampling_logp_difference/mean": float(gap_N.mean()),
        "sampling/sampling_logp_difference/max": float(gap_N.max()),
    }
