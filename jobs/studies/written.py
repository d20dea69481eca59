"""What a study writes: figures, tables, a row for each run, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.studies.figures import StudyFigures, figures, tables
from jobs.studies.study import Studied
from rlpeft.files import replacing, write_json, write_text
from rlpeft.report.study_page import write_study_page

STUDY_FILE, TABLE_FILE, CELLS_FILE, PAGE_FILE = (
    "study.json",
    "table.md",
    "cells.parquet",
    "report.html",
)


def write_study(studied: Studied, out: Path) -> StudyFigures:
    """Write all of it into the study's folder; gives what `study.json` holds.

    Raises:
        DataError: see `jobs.studies.figures.figures`.
    """
    found = figures(studied)
    write_figures(found, out)
    return found


def write_figures(found: StudyFigures, out: Path) -> None:
    """Write `study.json`, the tables, a row for each run, and the page."""
    write_json(out / STUDY_FILE, found)
    write_text(out / TABLE_FILE, tables(found) + "\n")
    with replacing(out / CELLS_FILE) as partial:
        pq.write_table(pa.Table.from_pylist(_rows(found)), partial)
    write_study_page(found, out / PAGE_FILE)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each run of each arm with each seed."""
    return [
        {
            **arm["place"],
            **{key: str(value) for key, value in arm["setting"].items()},
            "seed": seed,
            "test": arm["by_seed"].get(seed),
            "error": arm["failed"].get(seed, ""),
            "parameters": arm["parameters"],
        }
        for arm in found["arms"].values()
        for seed in (*arm["by_seed"], *arm["failed"])
    ]
