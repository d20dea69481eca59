"""What decides how a run grows: from a laptop to large models, many devices and machines.

rlpeft bench scale
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from jobs.bench import (
    asynchronous,
    beside,
    compiled,
    quantised,
    ranks,
    streaming,
    together,
    workers,
)
from jobs.bench.rows import BenchRow, interleave, medians

MOST_TIME, MOST_ERROR = 0.75, 1e-6
BENT = 0.3
"""How far z is moved, one singular value up and the next one down: neighbours are what a basis
mistakes for one another."""


def rows(*, model: str = "smollm2-135m", layers: Sequence[int] = (0, 15, 29)) -> Iterator[BenchRow]:
    """SVF's factors, ranks, an engine's workers and memory, int8, streaming, lag, experts."""
    weights = _weights(model, layers)
    what = f"({model}, {len(weights)} weights of {len(layers)} layers)"
    yield _time_row(what, weights)
    yield _error_row(what, weights)
    yield from ranks.rows(model=model)
    yield from workers.rows()
    yield from compiled.rows()
    yield from beside.rows(model=model)
    yield from quantised.rows(model=model)
    yield from streaming.rows(model=model)
    yield from asynchronous.rows(model=model)
    yield from together.rows()


def _weights(model: str, layers: Sequence[int]) -> list[torch.Tensor]:
    from rlpeft.adapters.linear import base_weights
    from rlpeft.adapters.policy import peft_config
    from rlpeft.adapters.targets import adapted
    from rlpeft.models.base import BaseModel
    from rlpeft.recipe.adapter import SvfAdapter

    base = BaseModel.open(model)
    names = adapted(base.skeleton, peft_config(SvfAdapter(layers=tuple(layers)), base.skeleton))
    return [weight_MN for _, weight_MN in base_weights(base, names)]


def _time_row(what: str, weights: Sequence[torch.Tensor]) -> BenchRow:
    from rlpeft.adapters.svf.decompose import DECOMPOSITIONS

    def side(decompose: Callable[[torch.Tensor], Any]) -> None:
        for weight_MN in weights:
            decompose(weight_MN)

    sides = {how: partial(side, decompose) for how, decompose in DECOMPOSITIONS.items()}
    found = medians(interleave(sides, repeats=3))
    ratio = found["gram"] / found["svd"]
    return BenchRow(
        figure=f"SVF's factors by Gram matrix in fp64, against the SVD in fp32 {what}",
        ours=found["gram"],
        peer=found["svd"],
        ratio=ratio,
        unit="s",
        floor="one eigenproblem of the smaller side, in twice the bits",
        goal=f"<= {MOST_TIME} x",
        met=ratio <= MOST_TIME,
    )


def _error_row(what: str, weights: Sequence[torch.Tensor]) -> BenchRow:
    from rlpeft.adapters.svf.decompose import DECOMPOSITIONS

    each = [errors(weight_MN) for weight_MN in weights]
    found = {how: max(error[how] for error in each) for how in DECOMPOSITIONS}
    return BenchRow(
        figure=f"W' at z = 1 ± {BENT} against an SVD in fp64, largest relative error {what}",
        ours=found["gram"],
        peer=found["svd"],
        ratio=found["gram"],
        unit="",
        floor="6e-8, the rounding of fp32",
        goal=f"<= {MOST_ERROR:g}",
        met=found["gram"] <= MOST_ERROR,
    )


def errors(weight_MN: torch.Tensor) -> dict[str, float]:
    """Largest error of an element of W', as a share of the largest element, by decomposition."""
    from rlpeft.adapters.svf.decompose import DECOMPOSITIONS
    from rlpeft.adapters.svf.factors import Factors
    from rlpeft.adapters.svf.functional import dense_weight

    u_MR, s_R, vt_RN = torch.linalg.svd(weight_MN.double(), full_matrices=False)
    z_R = 1 + BENT * (1 - 2 * (torch.arange(len(s_R)) % 2))
    true_MN = (u_MR * (s_R * z_R)) @ vt_RN
    found = {}
    for how, decompose in DECOMPOSITIONS.items():
        output_side = weight_MN.shape[0] <= weight_MN.shape[1]
        factors = Factors(*decompose(weight_MN), output_side, "")
        error_MN = dense_weight(weight_MN, factors, z_R) - true_MN
        found[how] = float(error_MN.abs().max() / true_MN.abs().max())
    return found
