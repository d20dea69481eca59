"""A run is one run, however often it is cut off: the law of exact resume, and its exceptions."""

import json

import pytest
import torch

from jobs.train import lone_run, run
from rlpeft.checkpoint import list_checkpoints
from rlpeft.errors import CheckpointError
from rlpeft.experts import load_expert
from rlpeft.metrics import completions_steps, read_completions, read_metrics


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off_at(step):
    def on_step(progress, metrics):
        if progress.step == step:
            raise CutOff

    return on_step


def local(recipe, out, **options):
    return run(recipe, out, ray=False, **options)


def is_time(name):
    return name.startswith("perf/") or name in ("step_time", "sync/seconds")


def decided(folder):
    """All that a run leaves and that must not depend on when it was cut off."""
    checkpoint = list_checkpoints(folder)[-1]
    return {
        "tensors": (checkpoint / "state.safetensors").read_bytes(),
        "state": json.loads((checkpoint / "state.json").read_text()),
        "metrics": [
            {name: value for name, value in row.items() if not is_time(name)}
            for row in read_metrics(folder)
        ],
        "completions": [read_completions(path) for path in completions_steps(folder)],
        "expert": load_expert(folder / "expert").card.digest,
    }


@pytest.mark.parametrize("cuts", [(0,), (1,), (2, 3)])
def test_a_run_that_was_cut_off_ends_bit_for_bit_as_one_that_was_not(quick, tmp_path, cuts):
    recipe = quick()
    whole = local(recipe, tmp_path / "whole")
    for step in cuts:
        with pytest.raises(CutOff):
            local(recipe, tmp_path / "parts", on_step=cut_off_at(step))
    parts = local(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert parts["test"] == whole["test"]
    assert parts["digest"] == whole["digest"]
