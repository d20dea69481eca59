"""`make help` says what there is to type, and what the marks of tests mean."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def helped():
    """What is listed: a name, and what it means."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(x for line in done.stdout.splitlines() if len(x := line.split(maxsplit=1)) == 2)


def test_every_target_is_listed(helped):
    lines = (ROOT / "Makefile").read_text().splitlines()
    [targets] = [line.split()[1:] for line in lines if line.startswith(".PHONY:")]
    assert {*targets} <= {*helped}


def test_every_marker_is_explained(helped, pytestconfig):
    known = dict(line.split(": ", 1) for line in pytestconfig.getini("markers"))
    for name in ("gpu", "ray", "vllm", "slow"):
        assert helped[name] == known[name]
