"""Summaries of runs, which may be damaged, copied, or of a version before."""

import json

import pytest

from rlpeft.errors import CheckpointError
from rlpeft.experts.measures import Accuracy
from rlpeft.experts.summary import read_summary

WHOLE = {
    "name": "swap",
    "expert": "/elsewhere/expert",
    "best_step": 3,
    "digest": "0" * 64,
    "test": Accuracy.of(7, 10).model_dump(),
    "base_test": Accuracy.of(2, 10).model_dump(),
    "trainable_parameters": 3072,
    "sync_bytes": 12288,
    "sync_ms": None,
}


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        kept = {key: value for key, value in (WHOLE | changes).items() if value is not ...}
        (tmp_path / "summary.json").write_text(json.dumps(kept))
        return tmp_path

    return write


def test_a_run_that_is_not_tested_has_none(tmp_path):
    assert read_summary(tmp_path) is None


def test_its_expert_is_that_of_the_folder_it_lies_in(written):
    folder = written()
    assert read_summary(folder) == WHOLE | {"expert": str(folder / "expert")}


def test_what_later_versions_add_is_kept(written):
    assert read_summary(written(more=[1]))["more"] == [1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, ...) for name in WHOLE if name not in ("sync_ms",)),
        ("name", 5),
        ("expert", 5),
        ("steps", "many"),
        ("test", {}),
        ("test", Accuracy.of(7, 10).model_dump() | {"correct": "x"}),
        ("sync_ms", "fast"),
        ("teaching_groups", {}),
        ("tasks", {"swap": {}}),
        ("against_base", {"value": 3}),
        ("modules", {"q_proj": "x"}),
    ],
)
def test_what_its_run_cannot_have_written_is_named(written, field, value):
    with pytest.raises(CheckpointError, match=rf"must hold what its run wrote, its {field}"):
        read_summary(written(**{field: value}))
