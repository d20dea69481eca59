"""What `summary.json` of a run holds once its expert is tested, read as a stranger's file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from rlpeft.errors import CheckpointError
from rlpeft.experts.card_parts import Parent
from rlpeft.experts.files import EXPERT_FOLDER
from rlpeft.experts.measures import Measure, PairedDifference
from rlpeft.files import read_json_if_there
from rlpeft.runs.fingerprint import SUMMARY_FILE


class _Tested(BaseModel):
    """Figures of an expert, over all tasks or on one."""

    model_config = ConfigDict(extra="allow")

    test: Measure
    base_test: Measure
    start_test: Measure | None = None
    against_base: PairedDifference | None = None
    against_start: PairedDifference | None = None


class _Summary(_Tested):
    """What is printed at the end of a run; what runs of before did not write may be absent."""

    name: str
    expert: str
    steps: int | None = None
    best_step: int
    digest: str
    export_format: str = ""
    tasks: dict[str, _Tested] = {}
    merged: tuple[Parent, ...] = ()
    teaching_groups: FiniteFloat | None = None
    ended_by: str = ""
    trainable_parameters: int
    sync_bytes: int
    sync_ms: FiniteFloat | None = None
    modules: dict[str, int] | None = None
    left_out: dict[str, int] | None = None


def read_summary(run: Path) -> dict[str, Any] | None:
    """The summary of the run in this folder; `None` where it is not tested yet.

    Its expert is that of this folder, which may be a copy or have another name by now.

    Raises:
        CheckpointError: it is damaged.
        FileError: it cannot be read.
    """
    path, mend = run / SUMMARY_FILE, "Delete it: the test is then run again."
    summary = read_json_if_there(path, mend=mend)
    if summary is None:
        return None
    try:
        _Summary.model_validate(summary)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{str(path)!r} must hold what its run wrote, its {where} is wrong: {first['msg']}. "
            f"{mend}"
        ) from error
    return summary | {"expert": str(run / EXPERT_FOLDER)}
