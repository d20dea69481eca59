"""Every step's adapter is kept while there is room, and is an expert like any other."""

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.experts.files import ExpertCard, find_experts, load_expert
from rlpeft.experts.steps import keep_step, list_steps
from rlpeft.program.run import run
from rlpeft.runs.checkpoint import load_checkpoint
from rlpeft.runs.fingerprint import FINGERPRINT_FILE

CARD = ExpertCard(
    name="x",
    base_model="tiny",
    base_digest="b",
    adapter={"type": "svf"},
    task={},
    rewards=(),
    seed=0,
    step=0,
    digest="",
)


def write(folder, step, keep_bytes):
    state = AdapterState({"peft_type": "SVF"}, {"a.svf_z": torch.full((1000,), float(step))}, step)
    card = CARD.model_copy(update={"step": step, "digest": state.digest})
    keep_step(folder, state, card, keep_bytes=keep_bytes)


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(("room", "expected"), [(100, 5), (3.5, 3), (0.9, 0), (0, 0)])
def test_the_newest_that_fit_are_kept(tmp_path, room, expected):
    """Room for so many steps, of which all are as large."""
    write(tmp_path / "one", 1, 10**9)
    keep_bytes = int(room * size(tmp_path / "one"))
    for step in range(1, 6):
        write(tmp_path / "run", step, keep_bytes)
    steps = [load_expert(folder).card.step for folder in list_steps(tmp_path / "run")]
    assert steps == list(range(6 - expected, 6))
    assert size(tmp_path / "run") <= keep_bytes


def test_a_search_for_experts_passes_over_steps_unless_it_is_for_them(tmp_path):
    write(tmp_path / "run", 1, 10**9)
    (tmp_path / "run" / FINGERPRINT_FILE).write_text("{}")
    assert find_experts(tmp_path) == []
    assert find_experts(tmp_path / "run" / "steps") == list_steps(tmp_path / "run")


def test_a_search_for_experts_passes_over_a_studys_runs_unless_it_is_for_them(tmp_path):
    study = tmp_path / "studies" / "mine"
    write(study / "cells" / "one", 1, 10**9)
    found = find_experts(study / "cells")
    assert len(found) == 1
    (study / FINGERPRINT_FILE).write_text("{}")
    assert find_experts(tmp_path) == []
    for root in (study, study / "cells", study / "cells" / "one"):
        assert find_experts(root) == found


@pytest.mark.slow
def test_a_run_keeps_each_of_its_steps_whatever_it_keeps_of_checkpoints(quick, tmp_path):
    recipe = quick(train={"steps": 3, "keep_checkpoints": 1})
    run(recipe, tmp_path)
    steps = [load_expert(folder) for folder in list_steps(tmp_path)]
    assert [expert.card.step for expert in steps] == [1, 2, 3]
    assert len({expert.card.digest for expert in steps}) == 3
    last = load_checkpoint(tmp_path)["learner"]["parameters"]
    for mine, checkpointed in zip(
        sorted(steps[-1].tensors.items()), sorted(last.items()), strict=True
    ):
        assert torch.equal(mine[1], checkpointed[1])


@pytest.mark.slow
def test_a_run_that_may_keep_nothing_keeps_nothing(quick, tmp_path):
    run(quick(train={"steps": 1, "keep_bytes": 0}), tmp_path)
    assert list_steps(tmp_path) == []
