"""Programs verified by their tests: for each row a job of the sandbox, or what to say without."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence
from typing import Any

from rewards.code.extract import extract_code, names_in, open_block
from rewards.code.pairs import ANNOTATIONS, PREAMBLE, Pairs, free_functions, read_pairs
from rewards.code.sandbox import Job, Outcome, shared_sandbox
from rewards.completion.regions import behind_prompts
from rewards.errors import RewardError
from rewards.verdict import Verdict, VerdictKind


def verify_code(completion: str, gold: Any, *, time_limit_s: int = 5) -> Verdict:
    """Run the program in `completion` against the tests `gold`.

    The tests run in another process than the program and see its objects through mirrors, so a
    program passes by what it returns and by nothing else. A program that loops, sleeps, eats
    memory or ends early is wrong. Unscorable are tests that cannot be parsed, that check nothing,
    or that only a comparison of the program's own could decide.

    Args:
        completion: text with a fenced block of Python, or bare Python.
        gold: a test program: assertions, pytest functions, unittest classes, HumanEval's
            `check(candidate)`; or pairs of inputs and outputs as in APPS and LiveCodeBench, as
            JSON or as what JSON stands for.
        time_limit_s: processor seconds, for each input where there are pairs.
    """
    return verify_code_batch([completion], [gold], time_limit_s=time_limit_s)[0]


def verify_code_batch(
    completions: Sequence[str], golds: Sequence[Any], *, time_limit_s: int = 5
) -> list[Verdict]:
    """Verify many programs on all processors; same verdicts as `verify_code` one by one."""
    tests = [_tests(gold) for gold in golds]
    codes = [
        extract_code(completion, _names(test))
        for completion, test in zip(completions, tests, strict=True)
    ]
    return _verdicts(codes, [_job(*row, time_limit_s) for row in zip(codes, tests, strict=True)])


def code_reward(
    completions: Sequence[Any],
    golds: Sequence[Any],
    prompts: Sequence[Any],
    truncated: Sequence[bool],
    prompt_ends: Sequence[str] | None = None,
    *,
    time_limit_s: int = 5,
) -> list[Verdict]:
    """Verify programs as `verify_code` does; one that its prompt begins is put together first.

    A prompt may end in an open block of Python, which the completion goes on with. Helpers that
    stand in it are the tests' own, its last function is the one under test.
    """
    heads = [open_block(_last_text(prompt)) for prompt in prompts]
    texts = behind_prompts([_text(completion) for completion in completions], prompts, prompt_ends)
    tests = [_tests(gold) for gold in golds]
    codes = [
        extract_code(text if head is None else f"```python\n{head}{text}", _names(test))
        for text, head, test in zip(texts, heads, tests, strict=True)
    ]
    jobs = [
        _job(code, test, time_limit_s, **_prelude(head or ""))
        for code, test, head in zip(codes, tests, heads, strict=True)
    ]
    return _cut(_verdicts(codes, jobs), completions, truncated)


def mbpp_reward(
    completions: Sequence[Any],
    test_list: Sequence[str | Sequence[str]],
    test_setup_code: Sequence[str] | None = None,
    test_imports: Sequence[Sequence[str]] | None = None,
    truncated: Sequence[bool] | None = None,
    *,
    time_limit_s: int = 5,
) -> list[Verdict]:
    """Verify MBPP rows (Austin et al., arXiv 2108.07732): `test_list` holds assertions.

    Rows of the full set have `test_setup_code`, those of the sanitized one `test_imports`.

    Args:
        completions: texts, or chat turns.
        test_list: assertions of each row.
        test_setup_code: what comes before a row's program.
        test_imports: lines that come before it.
        truncated: whether each completion hit a length limit.
        time_limit_s: processor seconds that a row's tests may take.
    """
    empty = [""] * len(completions)
    preludes = [
        "\n".join([*_several(imports or ()), setup or ""])
        for imports, setup in zip(test_imports or empty, test_setup_code or empty, strict=True)
    ]
    tests = [_several(row) for row in test_list]
    codes = [
        extract_code(_text(completion), _names(test))
        for completion, test in zip(completions, tests, strict=True)
    ]
    jobs = [
        _job(code, test, time_limit_s, prelude=prelude)
        for code, test, prelude in zip(codes, tests, preludes, strict=True)
    ]
    return _cut(_verdicts(codes, jobs), completions, truncated)


def humaneval_reward(
    completions: Sequence[Any],
    prompts: Sequence[Any],
    test: Sequence[str],
    entry_point: Sequence[str],
    truncated: Sequence[bool] | None = None,
    *,
    time_limit_s: int = 5,
) -> list[Verdict]:
    """Verify HumanEval rows (Chen et al., arXiv 2107.03374): `test` defines `check(candidate)`.

    A completion is a whole function or the rest of the one the prompt opens. The prompt, as
    text, is the benchmark's: the tests use its imports and helpers.

    Args:
        completions: texts, or chat turns.
        prompts: what each goes on with.
        test: program of each row that defines `check`.
        entry_point: name of the function under test.
        truncated: whether each completion hit a length limit.
        time_limit_s: processor seconds that a row's tests may take.
    """
    heads = [_code_of_prompt(prompt) for prompt in prompts]
    codes = [
        _completed(_text(text), head, name)
        for text, head, name in zip(completions, heads, entry_point, strict=True)
    ]
    jobs = [
        _job(code, (tests,), time_limit_s, prelude=head, entry_point=name)
        for code, tests, name, head in zip(codes, test, entry_point, heads, strict=True)
    ]
    return _cut(_verdicts(codes, jobs), completions, truncated)


Tests = tuple[str, ...] | Pairs | Verdict
"""Test programs, pairs, or what to say of a row that has neither."""


def _tests(gold: Any) -> Tests:
    pairs = read_pairs(gold)
    if isinstance(pairs, Pairs):
        return pairs
    if pairs is not None:
        return Verdict(None, VerdictKind.UNSCORABLE, pairs)
    return (gold,) if gold.strip() else ()


def _names(tests: Tests) -> frozenset[str]:
    """Return the names that a program for these tests may have to define."""
    if isinstance(tests, Pairs):
        return frozenset({tests.function, "Solution"} - {""} if tests.calls else ())
    return names_in("\n".join(tests)) if isinstance(tests, tuple) else frozenset()


def _prelude(head: str) -> dict[str, str]:
    """Return the tests' set-up from the code a prompt begins with."""
    try:
        names = [n.name for n in ast.parse(head).body if isinstance(n, ast.FunctionDef)]
    except SyntaxError:
        # A head cut in the middle of a statement sets nothing up; the program still runs.
        return {}
    return {"prelude": head, "entry_point": names[-1] if names else ""}


def _cut(
    verdicts: Sequence[Verdict], completions: Sequence[Any], truncated: Sequence[bool] | None
) -> list[Verdict]:
    rows = zip(verdicts, completions, truncated or [False] * len(verdicts), strict=True)
    return [_after_cut(verdict, _text(text)) if cut else verdict for verdict, text, cut in rows]


def _after_cut(verdict: Verdict, completion: str) -> Verdict:
    """A program that touches the cut is not finished, even if it passes."""
    text, program = completion.rstrip(), verdict.extracted
    if verdict.score is None:
        return verdict
    if program is not None and not text.endswith(program) and not program.endswith(text):
        return verdict
    return Verdict(0.0, VerdictKind.TRUNCATED, "the program was cut off", verdict.extracted)


def _job(code: str | None, tests: Tests, time_limit_s: int, **parts: Any) -> Job | Verdict:
    """Return the job of one row, or its verdict where there is nothing to run."""
    if time_limit_s < 1:
        raise RewardError(f"time_limit_s must be at least 1 second, got {time_limit_s!r}.")
    if isinstance(tests, Verdict):
        return tests
    if not tests:
        return Verdict(None, VerdictKind.UNSCORABLE, "there are no tests")
    if code is None:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion holds no program")
    source = textwrap.dedent(code) if code.lstrip("\n")[:1].isspace() else code
    limits: dict[str, Any] = {"cpu_s": time_limit_s, "wall_s": 3.0 * time_limit_s}
    if not isinstance(tests, Pairs):
        return Job(source, tests, preamble=ANNOTATIONS, **limits, **parts)
    if not tests.calls:
        return Job(source, scripts=tests.cases, preamble=PREAMBLE, **limits)
    names = [tests.function] if tests.function else free_functions(source)
    if len(names) < 2:  # one without any is wrong: it has nothing to call
        test = tests.test_program(*names or ["solve"])
        return Job(source, (test,), preamble=PREAMBLE, **limits)
    reason = "pairs name no function (fn_name), and it is not plain which of the program's is meant"
    return Verdict(None, VerdictKind.UNSCORABLE, reason)


def _verdicts(codes: Sequence[str | None], rows: Sequence[Job | Verdict]) -> list[Verdict]:
    jobs = [row for row in rows if isinstance(row, Job)]
    outcomes = iter(shared_sandbox().run_many(jobs))
    return [
        row if isinstance(row, Verdict) else _verdict(code, next(outcomes))
        for code, row in zip(codes, rows, strict=True)
    ]


def _verdict(code: str | None, outcome: Outcome) -> Verdict:
    kind = {
        "passed": VerdictKind.CORRECT,
        "failed": VerdictKind.WRONG,
        "syntax": VerdictKind.UNPARSABLE,
        "bad tests": VerdictKind.UNSCORABLE,
        "unjudged": VerdictKind.UNSCORABLE,
        "starved": VerdictKind.TIMEOUT,
        "broken": VerdictKind.ERROR,
    }[outcome.outcome]
    scores = {VerdictKind.CORRECT: 1.0, VerdictKind.WRONG: 0.0, VerdictKind.UNPARSABLE: 0.0}
    return Verdict(
        scores.get(kind), kind, outcome.detail, extracted=None if code is None else code.rstrip()
    )


def _completed(completion: str, head: str, name: str) -> str | None:
    """Return the whole program: the completion if it defines `name`, else appended to `head`."""
    code = extract_code(completion, frozenset({name}))
    if code is not None and f"def {name}" in code:
        return f"{_imports(head)}\n{code}"
    if "```" in completion:
        return code if code is None else head + code
    return head + completion if completion.strip() else None


def _imports(head: str) -> str:
    return "\n".join(line for line in head.splitlines() if line.startswith(("import ", "from ")))


def _code_of_prompt(prompt: Any) -> str:
    """Return the code of the benchmark's prompt, which chat prompts carry in a fenced block."""
    text = _last_text(prompt)
    return extract_code(text) or "" if "```" in text else text


def _several(tests: str | Sequence[str]) -> tuple[str, ...]:
    several = (tests,) if isinstance(tests, str) else tuple(tests)
    return several if any(test.strip() for test in several) else ()


def _last_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[0]["content"])
