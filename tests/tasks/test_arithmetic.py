"""Few-shot arithmetic: right answers, and operand pairs that no two splits share."""

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.arithmetic import arithmetic_task
from rlpeft.tasks.base import SPLITS

COUNTS = {"train": 400, "validation": 60, "test": 90}


def build(**changes):
    arguments = {"operations": ("+", "*"), "num_shots": 3, "counts": COUNTS, "seed": 0}
    return arithmetic_task(**{**arguments, **changes})


def parse(line):
    a, sign, b, equals, *rest = line.split()
    assert equals == "="
    return int(a), sign, int(b), rest


def solve(a, sign, b):
    return {"+": a + b, "*": a * b}[sign]


def test_every_answer_and_every_shot_is_right():
    for split in SPLITS:
        for problem in build().split(split):
            *shots, question = problem.prompt.split("\n")
            assert len(shots) == 3
            for shot in shots:
                a, sign, b, (result,) = parse(shot)
                assert solve(a, sign, b) == int(result)
            a, sign, b, rest = parse(question)
            assert not rest
            assert solve(a, sign, b) == int(problem.answer)


def test_no_pair_of_operands_is_asked_in_two_splits_nor_shown_with_its_answer():
    task = build()
    asked = {split: set() for split in SPLITS}
    for split in SPLITS:
        for problem in task.split(split):
            *shots, question = [parse(line) for line in problem.prompt.split("\n")]
            pair = frozenset((question[0], question[2]))
            asked[split].add(pair)
            assert pair not in {frozenset((shot[0], shot[2])) for shot in shots}
    assert len(set.union(*asked.values())) == sum(map(len, asked.values()))


@pytest.mark.parametrize("seed", range(8))
def test_validation_is_as_hard_as_the_test(seed):
    task, mean = build(seed=seed), {}
    for split in SPLITS:
        questions = [parse(problem.prompt.split("\n")[-1]) for problem in task.split(split)]
        pairs = {(min(a, b), max(a, b)) for a, _, b, _ in questions}
        mean[split] = sum(a * b for a, b in pairs) / len(pairs)
    # The mean product of all 55 pairs is 21; of 14 drawn freely it strays by 5.
    assert mean["validation"] == pytest.approx(mean["test"], abs=3)
    assert mean["train"] == pytest.approx(mean["test"], abs=5)


def test_splits_hold_distinct_prompts_in_the_numbers_asked_for():
    task = build()
    for split, count in COUNTS.items():
        assert len({problem.prompt for problem in task.split(split)}) == count


def test_operations_and_shots_are_honoured():
    for problem in build(operations=("*",), num_shots=1).split("train"):
        assert problem.prompt.count("*") == 2
        assert "+" not in problem.prompt


def test_the_seed_decides_the_problems():
    assert build().fingerprint() == build().fingerprint()
    assert build().fingerprint() != build(seed=1).fingerprint()


def test_more_problems_than_exist_without_shots_is_refused():
    with pytest.raises(DataError, match="90 distinct test problems"):
        build(num_shots=0, counts={"train": 10, "validation": 5, "test": 90})


def test_an_unknown_operation_is_refused():
    with pytest.raises(DataError, match="operations must be some of"):
        build(operations=("/",))
