"""Run a study: tune each arm on one seed, then run every arm with every seed.

    OUT/cells/ID/      the folder of each run, as `rlpeft train`, `sft` or `adapt` leaves it
    OUT/study.json     what was asked for, and every figure
    OUT/cells.parquet  a row for each run
    OUT/table.md       the tables
    OUT/report.html    the same with pictures

A run that is finished is not repeated, one that was cut off continues, and a study that was
changed runs what is new. A run that fails is told and leaves a hole; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.studies.cells import Cells, Setting, StudyArm, StudyCell, arms_of, settings_of
from jobs.studies.results import RESULT_FILE, Result, read_result
from rewards.errors import RewardError
from rlpeft.errors import ConfigError, RlpeftError
from rlpeft.experts.files import CELLS_FOLDER
from rlpeft.files import write_json
from rlpeft.program.folder import lone_run
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe
from rlpeft.recipe.study import StudyRecipe
from rlpeft.runs.fingerprint import check_fingerprint
from rlpeft.runs.records import read_metrics

RunCells = Callable[[Sequence[StudyCell], Path], Iterable[StudyCell]]
"""Runs cells, each in its own folder below one, and gives each back as it ends."""

OnCell = Callable[[int, int, StudyCell, Result], None]
"""Is told of each run as it ends: the how many-th it is, of how many, and what it brought."""


@dataclass(frozen=True)
class Studied:
    """A study that has run.

    Attributes:
        results: of each arm, by seed.
        settings: what each arm's tuned keys were given.
        tried: of each arm, the settings it chose from with their validations.
    """

    study: StudyRecipe
    results: Mapping[str, Mapping[int, Result]]
    settings: Mapping[str, Setting]
    tried: Mapping[str, Sequence[tuple[Setting, float | None]]]


def run_study(
    study: StudyRecipe, out: Path, *, run_cells: RunCells, on_cell: OnCell | None = None
) -> Studied:
    """Run what is not there yet.

    Raises:
        ConfigError: a cell's recipe is none, or every setting of an arm has failed.
        CheckpointError: the folder is of something else.
    """
    cells, arms, first = Cells(study), arms_of(study), study.seeds[0]
    tuned = [arm for arm in arms if len(settings_of(study, arm)) > 1]
    tries = [
        cells.cell(arm, setting, first) for arm in tuned for setting in settings_of(study, arm)
    ]
    total = len(tries) + len(arms) * len(study.seeds) - len(tuned)
    found: dict[str, Result] = {}

    def finish(wanted: Sequence[StudyCell]) -> None:
        new = [cell for cell in wanted if cell.id not in found]
        for cell, result in _finished(new, out / CELLS_FOLDER, run_cells):
            found[cell.id] = result
            if on_cell:
                on_cell(len(found), total, cell, result)

    with lone_run(out):
        check_fingerprint(out, {"method": "study run", "study": study.name})
        finish(tries)
        settings = {arm.name: _best(arm, study, tries, found) for arm in arms}
        final = [cells.cell(arm, settings[arm.name], s) for arm in arms for s in study.seeds]
        finish(final)
    return Studied(
        study,
        {arm.name: {c.seed: found[c.id] for c in final if c.arm == arm} for arm in arms},
        settings,
        {arm.name: _validations(arm, tries, found) for arm in arms},
    )


def _finished(
    cells: Sequence[StudyCell], folder: Path, run_cells: RunCells
) -> Iterator[tuple[StudyCell, Result]]:
    """The results of cells, those first that are there; a run that failed is tried again."""
    missing = []
    for cell in cells:
        there = (folder / cell.id / RESULT_FILE).is_file() and read_result(folder / cell.id)
        if there and not there.error:
            yield cell, there
        else:
            missing.append(cell)
    for cell in run_cells(missing, folder) if missing else ():
        yield cell, read_result(folder / cell.id)


def _validations(
    arm: StudyArm, tries: Sequence[StudyCell], found: Mapping[str, Result]
) -> list[tuple[Setting, float | None]]:
    return [(cell.setting, found[cell.id].validation) for cell in tries if cell.arm == arm]


def _best(
    arm: StudyArm, study: StudyRecipe, tries: Sequence[StudyCell], found: Mapping[str, Result]
) -> Setting:
    """What validates best of the settings that an arm has tried, the first of equals.

    Raises:
        ConfigError: all of them have failed.
    """
    own = _validations(arm, tries, found)
    if not own:
        return settings_of(study, arm)[0]
    known = [(setting, value) for setting, value in own if value is not None]
    if not known:
        failed = next(found[cell.id].error for cell in tries if cell.arm == arm)
        raise ConfigError(
            f"one setting at least of {arm.name} must train to its end, all {len(own)} have "
            f"failed. The first: {failed} Change the values of [[tune]]."
        )
    return max(known, key=lambda each: each[1])[0]


def run_here(cells: Sequence[StudyCell], folder: Path) -> Iterator[StudyCell]:
    """Run cells in this process, one after the other."""
    for cell in cells:
        run_cell(cell.by, cell.recipe, folder / cell.id)
        yield cell


def run_cell(by: str, recipe: Recipe | AdaptRecipe, folder: Path) -> None:
    """One run in this process; an error after its first step is a result.

    Raises:
        RlpeftError, RewardError: it could not begin, as others of the study then could not.
    """
    error = ""
    try:
        _run(by, recipe, folder)
    except (RlpeftError, RewardError) as failure:
        if not read_metrics(folder):
            raise
        error = str(failure)
    write_json(folder / RESULT_FILE, {"error": error})


def _run(by: str, recipe: Recipe | AdaptRecipe, folder: Path) -> None:
    from jobs import adapt, sft
    from rlpeft.program.run import run

    if isinstance(recipe, AdaptRecipe):
        adapt.run(recipe, folder)
    elif by == "sft":
        sft.run(recipe, folder)
    else:
        run(recipe, folder)
