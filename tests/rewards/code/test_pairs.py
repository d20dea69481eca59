"""Pairs of inputs and outputs, as APPS and LiveCodeBench hold them."""

import json

import pytest

from rewards.code import code_reward, verify_code
from rewards.code.pairs import same_output
from rewards.code.sandbox import Job, Sandbox


def score(program, gold, **options):
    return verify_code(f"```python\n{program}\n```", gold, time_limit_s=2, **options).score


def stdin(*pairs):
    return {"inputs": [given for given, _ in pairs], "outputs": [wanted for _, wanted in pairs]}


@pytest.mark.parametrize(
    "program",
    [
        "print(sum(map(int, input().split())))",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "print(sum(map(int, open(0).read().split())))",
        "import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())",
        "import sys\ndef main():\n    sys.stdout.write(str(sum(map(int, input().split()))))\n"
        "if __name__ == '__main__':\n    main()",
        "a = Counter(input().split())\nprint(sum(int(x) * n for x, n in a.items()))\nexit()",
        "import threading\ndef run(): print(sum(map(int, input().split())))\n"
        "threading.Thread(target=run).start()",
        "import atexit\natexit.register(lambda: print(sum(map(int, input().split()))))",
        "n = 10**5000\nprint(sum(map(int, input().split())) + len(str(n)) - 5001)",
    ],
)
def test_a_script_is_right_by_what_it_prints(program):
    assert score(program, stdin(("1 2", "3\n"), ("5 5 ", "10"))) == 1.0
    assert score(program, stdin(("1 2", "3"), ("5 5", "11"))) == 0.0


@pytest.mark.parametrize(
    "program",
    [
        "x = 1",
        "print(4)\nraise ValueError",
        "import sys\nprint(4)\nsys.exit(1)",
        "import os\nos._exit(0)",
        "while True: print('4' * 10000)",
        "import os\nos.close(1)",
        "print(4, 4)",
        "print('4\\n4')",
        "class S(str):\n    def __eq__(self, other): return True\nprint(S('5'))",
    ],
)
def test_a_script_that_prints_something_else_is_wrong(program):
    assert score(program, stdin(("2", "4"))) == 0.0


@pytest.mark.slow
def test_an_endless_script_is_wrong_at_its_time_limit():
    sandbox = Sandbox(num_workers=1)

    outcome = sandbox.run(Job("while True: pass", scripts=(("2", "4"),), cpu_s=1, wall_s=60.0))

    sandbox.close()
    assert (outcome.outcome, "time limit" in outcome.detail) == ("failed", True)


def test_a_script_that_cannot_be_compiled_is_told_from_a_wrong_one():
    verdict = verify_code("```python\nprint(4\n```", stdin(("2", "4")))

    assert (verdict.kind.value, verdict.score) == ("unparsable", 0.0)


def test_a_long_input_is_read_to_its_end():
    program = "import sys\nprint(len(sys.stdin.buffer.read()))"

    assert score(program, stdin(("x" * 3_000_000, "3000000"))) == 1.0


def test_a_script_finds_no_outputs_in_its_memory():
    program = (
        "import gc\n"
        "gc.unfreeze()\n"
        "found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]\n"
        "seen = any(''.join(reversed('9-eldeen')) in str(o)[:10**5] for o in found)\n"
        "print('seen' if seen else 'nothing')"
    )

    assert score(program, stdin(("1", "seen"), ("2", "needle-9"))) == 0.0
    assert score(program, stdin(("1", "nothing"), ("2", "nothing"))) == 1.0


@pytest.mark.parametrize(
    ("printed", "wanted", "same"),
    [
        ("1 2\n3", "1 2\n3\n", True),
        ("1  2 \n3\n\n", "1 2\n3", True),
        ("0.33333333", "0.333333333", True),
        ("1 2 3", "1 2\n3", False),
        ("0.34", "0.33", False),
        ("4.0", "4", False),
        ("nan", "nan", True),
        ("yes", "YES", False),
        ("", "", True),
        ("1", "", False),
    ],
)
def test_words_and_lines_count_and_blanks_do_not(printed, wanted, same):
    assert same_output(printed, wanted) is same


CLASS = (
    "class Solution:\n    def pick(self, xs: List[int], k: int) -> List[int]:\n        return {}"
)
FUNCTION = "def pick(xs, k):\n    return {}"


@pytest.mark.parametrize("program", [CLASS, FUNCTION])
@pytest.mark.parametrize(
    "gold",
    [
        {"fn_name": "pick", "inputs": [[[3, 1, 2], 2]], "outputs": [[3, 1]]},
        {"fn_name": "pick", "inputs": [[[3, 1, 2], 2]], "outputs": [[[3, 1]]]},
        [
            {"input": "[3, 1, 2]\n2", "output": "[3, 1]", "testtype": "functional"}
            | {"metadata": {"func_name": "pick"}}
        ],
    ],
)
def test_a_function_is_right_by_what_it_returns(program, gold):
    assert score(program.format("xs[:k]"), gold) == 1.0
    assert score(program.format("tuple(xs[:k])"), json.dumps(gold)) == 1.0
    assert score(program.format("xs[k:]"), gold) == 0.0
    assert score(program.format("type('E', (), {'__eq__': lambda *_: True})()"), gold) == 0.0


def test_rows_of_live_code_bench_run_as_scripts():
    gold = [{"input": "2", "output": "4", "testtype": "stdin"}]

    assert score("print(int(input()) * 2)", json.dumps(gold)) == 1.0
    assert score("x = 1", gold) == 0.0


@pytest.mark.parametrize(
    "gold",
    [
        {"inputs": [], "outputs": []},
        {"inputs": ["1"], "outputs": []},
        {"inputs": [1], "outputs": [2]},
        {"inputs": [[1]], "outputs": [1], "fn_name": "no name"},
        {"input": "1"},
        [1, 2],
        [],
        [
            {"input": "1", "output": "1", "testtype": "functional", "fn_name": "f"},
            {"input": "1", "output": "1", "testtype": "functional"},
        ],
        [{"input": "1"}],
        '{"valid": "json"}',
    ],
)
def test_json_that_holds_no_usable_pairs_is_unscorable(gold):
    verdict = verify_code("```python\nx = 1\n```", gold)

    assert (verdict.kind.value, verdict.score) == ("unscorable", None)
    assert verdict.reason


def test_pairs_are_a_gold_answer_of_the_code_reward():
    golds = [stdin(("2", "4")), json.dumps(stdin(("2", "4")))]

    verdicts = code_reward(["```python\nprint(4)\n```"] * 2, golds, ["Double it."] * 2, [False] * 2)

    assert [verdict.score for verdict in verdicts] == [1.0, 1.0]


NAMELESS = [{"input": "[3, 1]\n2", "output": "[1, 3, 2]", "testtype": "functional"}]
SORTED = (
    "def first(self, xs: List[int], last: int) -> List[int]:\n        return sorted(xs) + [last]"
)


@pytest.mark.parametrize(
    "program",
    [
        f"class Solution:\n    {SORTED}",
        f"class Solution:\n    {SORTED}\n    def _other(self): return 1",
        f"class Solution:\n    {SORTED.replace('sorted(', 'self.order(')}\n"
        "    def order(self, xs): return sorted(xs)",
        "def order(xs): return sorted(xs)\ndef solve(xs, last): return order(xs) + [last]",
    ],
)
def test_a_function_that_no_row_names_is_the_programs_one(program):
    """As LiveCodeBench's rows come, whose metadata stand apart from the tests."""
    assert score(program, NAMELESS) == 1.0
    assert score(program.replace("+ [last]", "+ [0]"), NAMELESS) == 0.0


@pytest.mark.parametrize(
    "program",
    [
        "def a(xs, n): return 1\ndef b(xs, n): return 2",
        "def a(xs, n): return b(xs, n)\ndef b(xs, n): return a(xs, n)",
    ],
)
def test_which_function_is_meant_is_not_guessed(program):
    verdict = verify_code(f"```python\n{program}\n```", NAMELESS)
    assert (verdict.kind.value, "name no function" in verdict.reason) == ("unscorable", True)


@pytest.mark.parametrize(
    ("program", "kind"),
    [("x = 1", "wrong"), ("class Solution: pass", "wrong"), ("def", "unparsable")],
)
def test_a_program_that_has_no_function_to_call_is_wrong(program, kind):
    assert verify_code(f"```python\n{program}\n```", NAMELESS).kind.value == kind


def test_metadata_that_is_json_in_json_names_the_function():
    row = NAMELESS[0] | {"metadata": json.dumps({"func_name": "b"})}
    assert score("def a(xs, n): return 1\ndef b(xs, n): return sorted(xs) + [n]", [row]) == 1.0


@pytest.mark.parametrize(
    ("annotation", "value"), [("List[int]", 1.0), ("Optional[Dict[str, int]]", 1.0), ("Lisst", 0.0)]
)
def test_annotations_need_no_import_under_any_tests(annotation, value):
    program = f"def f(x: {annotation}) -> Tuple[int, ...]:\n    return x"
    assert score(program, "assert f(3) == 3") == value


def test_nothing_that_computes_comes_without_its_import():
    assert score("def f(x): return dict(Counter(x))", "assert f('a') == {'a': 1}") == 0.0
