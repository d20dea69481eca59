"""Train from Python on a Ray cluster; all else as `rlpeft.train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs.cluster.parts import on_ray
from rlpeft.program import from_python
from rlpeft.program.given import Dataset, GivenReward


def train(
    model: str | Path | Mapping[str, Any],
    dataset: Dataset,
    reward: GivenReward | Iterable[GivenReward],
    *,
    out: str | Path,
    address: str | None = None,
    **given: Any,
) -> from_python.TrainedExpert:
    """Train with learner and engines in actors; this process is the driver.

    Args:
        address: of the cluster; absent: that of `RAY_ADDRESS`, one that runs here, or a new one.
        model, dataset, reward, out, given: see `rlpeft.train`.
    """
    return from_python.train(model, dataset, reward, out=out, venue=on_ray(address), **given)
