"""Tests that need a GPU are collected where there is none, and skipped by their marker."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_what_needs_a_gpu_imports_and_is_skipped_without_one():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-m", "gpu"]
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "tests/gpu", "tests/adapters/test_policy_cuda.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    last = done.stdout.splitlines()[-1]
    assert "skipped" in last
    assert not {"passed", "failed", "error"} & {*last.replace(",", "").split()}


def test_every_test_in_its_folder_has_the_marker():
    for path in (ROOT / "tests" / "gpu").glob("test_*.py"):
        marks = [line for line in path.read_text().splitlines() if line.startswith("pytestmark")]
        assert ["pytest.mark.gpu" in mark for mark in marks] == [True], path
