"""Of which runs a page may be: told by their folders alone, before what draws it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlpeft.errors import ConfigError
from rlpeft.once import require_once
from rlpeft.runs.records import require_metrics

MOST_RUNS = 10
"""Runs whose colours can be told apart: as many as `rlpeft.report.charts.PALETTE` has."""


def require_runs(folders: Sequence[Path]) -> None:
    """Refuse folders that no page can be of.

    Raises:
        ConfigError: one run is named twice, or there are too many.
        DataError: a folder holds no metrics, or damaged ones.
    """
    require_once("a comparison must name each run", folders, [each.resolve() for each in folders])
    if len(folders) > MOST_RUNS:
        raise ConfigError(
            f"at most {MOST_RUNS} runs are compared on a page, whose colours can be told apart, "
            f"got {len(folders)}. Name fewer."
        )
    for folder in folders:
        require_metrics(folder)
