"""A step on an accelerator that computes nothing: no tensor is left on the CPU, and none leaves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "accelerated.py"

INDICES = ("sources_N", "prompts_PL", "completions_SC", "keys_SK", "places_T")
"""What PyTorch takes from the CPU without a word."""

VALUES = ("tokens_T", "positions_T", "targets_N", "logprobs_N", "advantages_N", "weights_N")


@pytest.fixture(scope="module")
def found():
    """In a process of its own, which the fake device spoils for everything else."""
    command = [sys.executable, str(SCRIPT)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("adapter", ["svf", "lora", "dora", "ia3", "hyplora", "moslora"])
def test_a_step_needs_nothing_from_the_cpu_and_leaves_all_there(found, adapter):
    assert found[adapter] == {"raised": None, "left": []}


@pytest.mark.parametrize("name", [*VALUES, *INDICES, "starts_S"])
def test_a_tensor_left_on_the_cpu_is_found(found, name):
    assert "of tensors on ['cpu', 'fakegpu']" in found[name]["raised"]


@pytest.mark.parametrize("name", INDICES)
def test_indices_left_on_the_cpu_are_found_where_they_are_used(found, name):
    assert found[name]["raised"].startswith("aten::index ")
