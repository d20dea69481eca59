"""Slices on an accelerator that computes nothing: no tensor of theirs is left on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "accelerated.py"


@pytest.fixture(scope="module")
def found():
    """In a process of its own, which the fake device spoils for everything else."""
    command = [sys.executable, str(SCRIPT)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "slice_",
    ["svf factored", "svf dense", "lora factored", "lora dense", "dora factored"]
    + [f"{name} factored" for name in ("ia3", "hyplora", "boost", "moslora")],
)
def test_a_slice_needs_nothing_from_the_cpu_but_what_is_sent(found, slice_, dtype):
    assert found[f"{slice_} {dtype}"] is None


def test_neither_does_the_weight_in_singular_coordinates(found):
    assert found["svf spectral float32"] is None


def test_a_tensor_left_on_the_cpu_is_found(found):
    assert "aten::add of tensors on ['cpu', 'fakegpu']" in found["forgotten"]
