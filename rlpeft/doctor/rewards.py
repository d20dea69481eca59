"""Whether the reward tells a right answer from a wrong one, on real rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from rewards.verdict import Verdict, VerdictKind
from rlpeft.doctor.row import Check, fail, ok, warn
from rlpeft.scoring import Scores, score_groups
from rlpeft.tasks.golds import gold_of
from rlpeft.types import Completion, FinishReason, Group, Problem

NUM_ROWS = 8
"""Problems of the dry run."""

GOLD_FORMS = (
    "{}",
    "The answer is {}.",
    r"\boxed{{{}}}",
    "#### {}",
    "<answer>{}</answer>",
    "<think>Let me see.</think>{}",
    "The answer is ({}).",
    "Label: {}",
)
"""Ways to write a gold answer; a reward should accept at least one."""

MEND_GOLD = "Mend these gold answers, or set the reward's options.gold to their column."


def check_reward(problems: Sequence[Problem], scorer: Scores) -> Iterator[Check]:
    """Score gold, wrong and empty answers to real problems.

    Raises:
        RewardError: the reward cannot be called on these rows.
    """
    rows = [problem for problem in problems if problem.answer][:NUM_ROWS]
    if not rows:
        yield warn(
            "reward on gold answers",
            "the task has no gold answers",
            "Only rewards that need none can work; look at the completions of the first steps.",
        )
        return
    by_form = {
        form: judge(rows, [form.format(said(p)) for p in rows], scorer) for form in GOLD_FORMS
    }
    form = max(by_form, key=lambda each: _worth(by_form[each]))
    gold = by_form[form]
    yield _check_gold(form, gold)
    others = [wrong_answer(problem, problems) for problem in rows]
    wrong = judge(rows, [form.format(answer) for answer in others], scorer)
    yield _check_refused("reward on wrong answers", wrong, gold)
    yield _check_refused("reward on empty answers", judge(rows, [""] * len(rows), scorer), gold)


def said(problem: Problem) -> str:
    """A right answer to a problem: the first where there are several."""
    gold = gold_of(problem)
    return str(gold[0]) if isinstance(gold, list) and gold else problem.answer


def _worth(verdicts: Sequence[Verdict]) -> tuple[int, float]:
    """How right answers are taken: correct ones first, then the mean score."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    correct = sum(verdict.kind is VerdictKind.CORRECT for verdict in verdicts)
    return correct, fmean(scores) if scores else float("-inf")


def judge(problems: Sequence[Problem], texts: Sequence[str], scorer: Scores) -> list[Verdict]:
    """Verdicts on one given completion for each problem."""
    groups = [
        Group(problem, (), (Completion((0,), (0.0,), text, FinishReason.STOP, 0, ""),))
        for problem, text in zip(problems, texts, strict=True)
    ]
    return score_groups(groups, scorer, step=0).verdicts


def wrong_answer(problem: Problem, problems: Sequence[Problem]) -> str:
    """The gold answer of another problem that is not this one's."""
    others = (said(p) for p in problems if p.answer not in ("", problem.answer))
    return next(others, "wrong")


def _check_gold(form: str, verdicts: Sequence[Verdict]) -> Check:
    name = "reward on gold answers"
    kinds = Counter(verdict.kind.value for verdict in verdicts)
    found = f"{_counts(kinds)}, written as {form.format('GOLD')!r}"
    first = next((v for v in verdicts if v.kind is not VerdictKind.CORRECT), None)
    if first is None:
        return ok(name, found)
    if all(v.kind is VerdictKind.GRADED for v in verdicts):
        mean = _worth(verdicts)[1]
        return ok(name, f"mean score {mean:.3f}, written as {form.format('GOLD')!r}; no accuracy")
    found += f"; {first.reason}" if first.reason else ""
    if any(v.score is None for v in verdicts):
        return fail(name, found, MEND_GOLD)
    return warn(
        name,
        found,
        "Fine if the reward judges something else than the answer; otherwise set options.gold, "
        "or a reward that reads the answers' form.",
    )


def _check_refused(name: str, verdicts: Sequence[Verdict], gold: Sequence[Verdict]) -> Check:
    kinds = Counter(verdict.kind.value for verdict in verdicts)
    found, accepted = _counts(kinds), bool(kinds[VerdictKind.CORRECT.value])
    if kinds[VerdictKind.GRADED.value]:
        # Scores have no threshold: what matters is that right answers earn more.
        found += f", mean score {_worth(verdicts)[1]:.3f}"
        accepted = accepted or _worth(verdicts)[1] >= _worth(gold)[1]
    unread = next((v for v in verdicts if v.kind is VerdictKind.UNSCORABLE), None)
    if unread is not None:
        # A gold answer that is only known again word for word tells nothing of other answers.
        return fail(name, f"{found}; {unread.reason}", MEND_GOLD)
    if not accepted:
        return ok(name, found)
    return warn(
        name,
        found,
        "Fine if the reward judges something else than the answer; otherwise a policy learns to "
        "write these: take a stricter reward.",
    )


def _counts(kinds: Counter[str]) -> str:
    total = sum(kinds.values())
    return ", ".join(f"{count} of {total} {kind}" for kind, count in kinds.most_common())
