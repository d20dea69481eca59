"""Programs verified by the tests of a benchmark, in a sandbox.

>>> from rewards.code import verify_code
>>> verify_code("def double(x):\\n    return 2 * x", "assert double(3) == 6").score
1.0
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from rewards.code.extract import extract_code, open_block
from rewards.code.sandbox import Job, Outcome, shared_sandbox
from rewards.errors import RewardError
from rewards.verdict import Verdict, VerdictKind


def verify_code(completion: str, gold: str, *, time_limit_s: int = 5) -> Verdict:
    """Run the program in `completion` against the test program `gold`.

    The tests run in another process than the program and see it through plain values, so a
    program passes by what it returns and by nothing else. A program that loops, sleeps, eats
    memory or ends early is wrong; tests that cannot be parsed are unscorable.

    Args:
        completion: text with a fenced block of Python, or bare Python.
        gold: test program that raises (`assert`) if the program is wrong.
        time_limit_s: processor seconds.
    """
    return verify_code_batch([completion], [gold], time_limit_s=time_limit_s)[0]


def verify_code_batch(
    completions: Sequence[str], golds: Sequence[str], *, time_limit_s: int = 5
) -> list[Verdict]:
    """Verify many programs on all processors; same verdicts as `verify_code` one by one."""
    codes = [extract_code(completion) for completion in completions]
    jobs = [
        _job(code or "", (gold,) if gold.strip() else (), time_limit_s)
        for code, gold in zip(codes, golds, strict=True)
    ]
    return _verdicts(codes, jobs)


def code_reward(
    completions: Sequence[str],
    golds: Sequence[str],
    prompts: Sequence[Any],
    truncated: Sequence[bool],
    *,
    time_limit_s: int = 5,
) -> list[Verdict]:
    """Verify programs as `verify_code` does; one that its prompt begins is put together first.

    A prompt may end in an open block of Python, which the completion goes on with. Helpers that
    stand in it are the tests' own, its last function is the one under test.
    """
    heads = [open_block(_last_text(prompt)) for prompt in prompts]
    codes = [
        extract_code(text if head is None else f"```python\n{head}{text}")
        for text, head in zip(completions, heads, strict=True)
    ]
    jobs = [
        _job(code or "", (gold,) if gold.strip() else (), time_limit_s, **_prelude(head or ""))
        for code, gold, head in zip(codes, golds, heads, strict=True)
    ]
    return _cut(_verdicts(codes, jobs), completions, truncated)


def mbpp_reward(
    completions: Sequence[Any],
    test_list: Sequence[str | Sequence[str]],
    test_setup_code: Sequence[str] | None = None,
    truncated: Sequence[bool] | None = None,
    *,
    time_limit_s: int = 5,
) -> list[Verdict]:
    """Verify MBPP rows (Austin et al., arXiv 2108.07732): `test_list` holds assertions."""
    setups = test_setup_code or [""] * len(completions)
    codes = [extract_code(_text(completion)) for completion in completions]
    jobs = [
        _job(code or "", _several(tests), time_limit_s, prelude=setup)
        for code, tests, setup in zip(codes, test_list, setups, strict=True)
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
    """
    heads = [_code_of_prompt(prompt) for prompt in prompts]
    codes = [
        _completed(_text(text), head, name)
        for text, head, name in zip(completions, heads, entry_point, strict=True)
    ]
    jobs = [
        _job(
            code or "",
            (f"{tests}\n\ncheck({name})\n",),
            time_limit_s,
            prelude=head,
            entry_point=name,
        )
        for code, tests, name, head in zip(codes, test, entry_point, heads, strict=True)
    ]
    return _cut(_verdicts(codes, jobs), completions, truncated)


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


def _job(code: str, tests: tuple[str, ...], time_limit_s: int, **parts: Any) -> Job:
    if time_limit_s < 1:
        raise RewardError(f"time_limit_s must be at least 1 second, got {time_limit_s!r}.")
    return Job(code, tests, cpu_s=time_limit_s, wall_s=3.0 * time_limit_s, **parts)


def _verdicts(codes: Sequence[str | None], jobs: Sequence[Job]) -> list[Verdict]:
    runnable = [i for i, job in enumerate(jobs) if codes[i] is not None and job.tests]
    outcomes = dict(
        zip(runnable, shared_sandbox().run_many([jobs[i] for i in runnable]), strict=True)
    )
    return [_verdict(codes[i], jobs[i], outcomes.get(i)) for i in range(len(jobs))]


def _verdict(code: str | None, job: Job, outcome: Outcome | None) -> Verdict:
    if not job.tests:
        return Verdict(None, VerdictKind.UNSCORABLE, "there are no tests")
    if outcome is None:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion holds no program")
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
    code = extract_code(completion)
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
    return (tests,) if isinstance(tests, str) else tuple(tests)


def _last_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[0]["content"])
