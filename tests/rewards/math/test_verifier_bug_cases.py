"""Cases modelled on public bug reports, which sit beside the repository, never in it."""

import json

import pytest

from rewards import verify

# Where a careful human disagrees with the expected value: id -> why. Empty: none so far.
DISAGREED: dict[str, str] = {}


@pytest.fixture(scope="module")
def cases(shared_path):
    lines = (shared_path / "bug_cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [case for case in map(json.loads, lines) if case["area"] == "math"]


def test_every_reported_case_is_decided_as_a_careful_human_would(cases):
    wrong = []
    for case in cases:
        row = case["input"]
        score = verify(row["completion"], row["gold"], policy=row["policy"]).score
        wrong += [case["id"]] if score != case["expected"] else []
    assert set(wrong) == set(DISAGREED)


def test_strict_correct_is_lenient_correct_on_every_reported_case(cases):
    for case in cases:
        row = case["input"]
        if verify(row["completion"], row["gold"], policy="strict").score == 1.0:
            lenient = verify(row["completion"], row["gold"], policy="lenient")
            assert (case["id"], lenient.score) == (case["id"], 1.0)
