"""MBPP and HumanEval, as published: official solutions pass, broken ones do not."""

import ast
import gzip
import json

import pytest

from rewards import VerdictKind, verify, verify_batch
from rewards.code import humaneval_reward, mbpp_reward

BROKEN = "\n_right = {name}\ndef {name}(*a, **k): return ('broken', _right(*a, **k))\n"


@pytest.fixture(scope="module")
def mbpp(shared_path):
    lines = (shared_path / "data" / "mbpp.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def humaneval(shared_path):
    with gzip.open(shared_path / "data" / "HumanEval.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def function_names(code):
    return [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]


def score_mbpp(rows, change=lambda code: code):
    completions = [f"Here it is.\n```python\n{change(row['code'])}\n```\nDone." for row in rows]
    return mbpp_reward(
        completions,
        [row["test_list"] for row in rows],
        [row["test_setup_code"] for row in rows],
        time_limit_s=10,
    )


def score_humaneval(rows, completions):
    return humaneval_reward(
        completions,
        [row["prompt"] for row in rows],
        [row["test"] for row in rows],
        [row["entry_point"] for row in rows],
        time_limit_s=10,
    )


def break_all(code):
    return code + "".join(BROKEN.format(name=name) for name in function_names(code))


def failures(rows, verdicts, wanted):
    return [
        (row["task_id"], verdict.reason)
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.kind is not wanted
    ]


# Every eleventh row, with the rows whose tests use more than one function's plain values.
SAMPLE = slice(None, None, 11)
ODD_MBPP = {126, 367, 596, 601, 927}


def test_official_mbpp_solutions_pass(mbpp):
    rows = mbpp[SAMPLE] + [row for row in mbpp if row["task_id"] in ODD_MBPP]

    assert failures(rows, score_mbpp(rows), VerdictKind.CORRECT) == []


@pytest.mark.slow
def test_broken_mbpp_solutions_fail(mbpp):
    rows = mbpp[SAMPLE]

    assert failures(rows, score_mbpp(rows, break_all), VerdictKind.WRONG) == []


def test_official_humaneval_bodies_pass(humaneval):
    rows = humaneval[SAMPLE]
    verdicts = score_humaneval(rows, [row["canonical_solution"] for row in rows])

    assert failures(rows, verdicts, VerdictKind.CORRECT) == []


def test_whole_humaneval_functions_in_a_fence_pass(humaneval):
    rows = humaneval[5:][SAMPLE]
    completions = [f"```python\n{r['prompt']}{r['canonical_solution']}```" for r in rows]

    assert failures(rows, score_humaneval(rows, completions), VerdictKind.CORRECT) == []


def test_broken_humaneval_solutions_fail(humaneval):
    rows = humaneval[SAMPLE]
    broken = [
        r["prompt"] + r["canonical_solution"] + BROKEN.format(name=r["entry_point"]) for r in rows
    ]

    assert failures(rows, score_humaneval(rows, broken), VerdictKind.WRONG) == []


@pytest.mark.slow
def test_all_official_solutions_pass_and_all_broken_ones_fail(mbpp, humaneval):
    bodies = [row["canonical_solution"] for row in humaneval]
    broken = [
        r["prompt"] + r["canonical_solution"] + BROKEN.format(name=r["entry_point"])
        for r in humaneval
    ]

    assert failures(mbpp, score_mbpp(mbpp), VerdictKind.CORRECT) == []
    assert failures(mbpp, score_mbpp(mbpp, break_all), VerdictKind.WRONG) == []
    assert failures(humaneval, score_humaneval(humaneval, bodies), VerdictKind.CORRECT) == []
    assert failures(humaneval, score_humaneval(humaneval, broken), VerdictKind.WRONG) == []


def test_code_is_a_kind_of_verify():
    good, bad = "def add(a, b): return a + b", "def add(a, b): return a - b"
    tests = "assert add(2, 3) == 5"

    verdicts = verify_batch([good, bad, "no idea"], [tests] * 3, kind="code")

    kinds = [verdict.kind.value for verdict in verdicts]
    assert kinds == ["correct", "wrong", "unparsable"]
    assert verify(good, tests, kind="code").score == 1.0


def test_tests_that_cannot_be_parsed_are_unscorable():
    assert verify("x = 1", "assert (", kind="code").kind is VerdictKind.UNSCORABLE
    assert verify("x = 1", "  ", kind="code").kind is VerdictKind.UNSCORABLE


def test_a_program_cut_off_in_its_block_is_truncated():
    cut = "```python\ndef add(a, b):\n    return a"

    assert verify(cut, "assert add(1, 0) == 1", kind="code", truncated=True).score == 0.0


def test_the_last_block_is_the_program():
    text = "```python\ndef f(): return 1\n```\nBetter:\n```python\ndef f(): return 2\n```"

    assert verify(text, "assert f() == 2", kind="code").score == 1.0


def test_a_completion_that_begins_inside_a_block_is_read_to_its_end():
    text = "def f():\n    return 1\n```\nThis returns one."

    assert verify(text, "assert f() == 1", kind="code").score == 1.0


def test_the_part_of_a_script_that_waits_for_input_is_not_run():
    code = "def f(): return 1\nif __name__ == '__main__':\n    print(input())"

    assert verify(code, "assert f() == 1", kind="code").score == 1.0


def test_a_program_in_the_thinking_is_not_the_answer():
    text = "<think>```python\ndef f(): return 1\n```</think>I do not know."

    assert verify(text, "assert f() == 1", kind="code").kind is VerdictKind.UNPARSABLE


def test_a_program_in_a_list_is_indented_with_its_fence():
    text = "1. So:\n\n    ```python\n    def f():\n        return 1\n    ```\n"

    assert verify(text, "assert f() == 1", kind="code").score == 1.0


def test_the_imports_of_a_sanitized_mbpp_row_are_run():
    completions = ["```python\ndef half(x): return x / 2\n```"] * 2
    imports = [["import math"], ["from math import pi"]]
    tests = [["assert math.isclose(half(3), 1.5)"], ["assert half(2 * pi) == pi"]]

    verdicts = mbpp_reward(completions, tests, test_imports=imports)

    assert [verdict.score for verdict in verdicts] == [1.0, 1.0]


def test_a_row_whose_tests_check_nothing_is_unscorable():
    verdicts = [
        verify("def f(): return 1", tests, kind="code")
        for tests in ("f()", "import math", "# nothing", "def test(): pass", "x = f() == 2")
    ]

    assert {(verdict.kind.value, verdict.score) for verdict in verdicts} == {("unscorable", None)}


HEAD = 'import math\n\ndef half(x):\n    return x / 2\n\ndef area(r):\n    """Area."""\n'
AREA = "assert area(2) == math.pi * 4 and half(4) == 2"


@pytest.mark.parametrize("end", ["", "\n```", "\n```\nThat is all."])
def test_a_completion_goes_on_with_the_block_its_prompt_opens(score, end):
    opening = f"```python\n{HEAD}"
    prompts = [
        f"Complete this.\n{opening}```\n@@ Response\n{opening}",
        ({"role": "user", "content": "Go on."}, {"role": "assistant", "content": opening}),
    ]
    bodies = ["    return math.pi * r * r", "    return r"]

    for prompt in prompts:
        batch = score(
            ["code"],
            [body + end for body in bodies],
            prompts=[prompt] * 2,
            columns={"answer": [AREA] * 2},
        )
        assert [verdict.score for verdict in batch.verdicts] == [1.0, 0.0]


def test_helpers_of_the_prompt_cannot_be_replaced_by_the_program(score):
    cheat = "    return 7\n\ndef half(x):\n    return 2\n"

    batch = score(
        ["code"],
        [cheat],
        prompts=[f"```python\n{HEAD}"],
        columns={"answer": ["assert half(area(2)) == 2"]},
    )

    assert batch.verdicts[0].score == 0.0


def test_a_program_that_was_cut_off_is_truncated_even_if_it_passes(score):
    batch = score(
        ["code"],
        ["    return math.pi * r * r", "    return math.pi * r * r\n```\nThis is"],
        prompts=[f"```python\n{HEAD}"] * 2,
        truncated=[True, True],
        columns={"answer": [AREA] * 2},
    )

    assert [verdict.kind.value for verdict in batch.verdicts] == ["truncated", "correct"]
