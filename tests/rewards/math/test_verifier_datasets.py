"""Gold answers of real benchmarks, which sit beside the repository, never in it."""

import json

import pytest

from rewards import verify_batch


def disagreements(completions, golds):
    verdicts = verify_batch(completions, golds)
    return [(g, v.reason) for g, v in zip(golds, verdicts, strict=True) if v.score != 1.0]


def read_rows(shared_path, name):
    lines = (shared_path / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k_train", "gsm8k_test"])
def test_worked_solutions_of_gsm8k_reach_their_answers(shared_path, name):
    solutions = [row["answer"] for row in read_rows(shared_path, name)]
    golds = [solution.rpartition("####")[2].strip() for solution in solutions]
    assert disagreements(solutions, golds) == []
    assert disagreements(solutions, solutions) == []


@pytest.mark.parametrize(
    "name",
    ["gsm8k_test", "svamp_test", "mawps_train", "mawps_valid", "mawps_test", "aqua_test",
     "math500_answers"],
)  # fmt: skip
@pytest.mark.parametrize("template", ["{}", "so \\boxed{{{}}}.", "The answer is ${}$.", "#### {}"])
def test_every_gold_answer_verifies_against_itself(shared_path, name, template):
    golds = [str(row["answer"]) for row in read_rows(shared_path, name)]
    bare = [gold.rpartition("####")[2].strip() for gold in golds]
    assert disagreements([template.format(gold) for gold in bare], golds) == []


def test_different_gold_answers_of_math_are_told_apart(shared_path):
    golds = [row["answer"] for row in read_rows(shared_path, "math500_answers")]
    others = golds[1:] + golds[:1]
    verdicts = verify_batch([f"\\boxed{{{other}}}" for other in others], golds)
    matched = {
        (gold, other)
        for gold, other, verdict in zip(golds, others, verdicts, strict=True)
        if verdict.score == 1.0 and gold != other
    }
    assert matched <= {("5", "x=5"), ("x=5", "5")}
