"""Whether the reward tells a right answer from a wrong one, on real rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rewards.golds import gold_text
from rewards.scorer import FAILURES
from rewards.verdict import Verdict, VerdictKind
from rlpeft.doctor.row import Check, fail, ok, warn
from rlpeft.doctor.trial import Judge, Trial, Tried
from rlpeft.scoring import Needs, Scores, score_groups
from rlpeft.tasks.base import SPLITS, Task
from rlpeft.tasks.contradictions import said_of_contradictions
from rlpeft.tasks.golds import gold_of, require_golds
from rlpeft.terminal import score_shown
from rlpeft.types import Completion, FinishReason, Group, Problem

NUM_ROWS = 8
"""Problems of the dry run."""

MEND_GOLD = "Mend these gold answers, or set the reward's options.gold to their column."
MEND_NONE = "The function returned None, which is no score: have it return one for each answer."
MEND_FAILURE = "Mend the reward: an answer on which it fails gets no score."


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
    others = [said(problem) for problem in problems if problem.answer]
    trial = Trial(_judge(rows, scorer), [said(problem) for problem in rows], others=others)
    yield _check_gold(trial)
    yield _check_refused("reward on wrong answers", trial.wrong(), trial.right)
    yield _check_refused("reward on empty answers", trial.empty(), trial.right)


def check_golds(task: Task, scorer: Needs, source: str) -> Iterator[Check]:
    """Refuse gold answers as a run would, and warn of those that contradict each other; a row of
    the table only where there are such.

    Raises:
        DataError: a blank one, or one of a type that its reward does not take.
    """
    rules, columns = scorer.gold_rules, scorer.required_columns
    every = [problem for split in SPLITS for problem in task.split(split)]
    require_golds(every, rules, columns, source=source)
    if said := said_of_contradictions(task, SPLITS, rules, columns):
        yield warn(
            "gold answers",
            said,
            "No answer is right for both: remove the row that is wrong, or have the prompt hold "
            "the column that tells them apart.",
        )


def said(problem: Problem) -> str:
    """A right answer to a problem: the first where there are several."""
    gold = gold_of(problem)
    return gold_text(gold[0]) if isinstance(gold, list) and gold else problem.answer


def _judge(problems: Sequence[Problem], scorer: Scores) -> Judge:
    def judge(texts: Sequence[str], *, cut: bool) -> list[Verdict]:
        end = FinishReason.LENGTH if cut else FinishReason.STOP
        groups = [
            Group(problem, (), (Completion((0,), (0.0,), text, end, 0, ""),))
            for problem, text in zip(problems, texts, strict=True)
        ]
        return score_groups(groups, scorer, step=0).verdicts

    return judge


def _check_gold(trial: Trial) -> Check:
    name, form, verdicts = "reward on gold answers", trial.form, trial.right.verdicts
    kinds = Counter(verdict.kind.value for verdict in verdicts)
    found = f"{_counts(kinds)}, written as {form.format('GOLD')!r}"
    first = next((v for v in verdicts if v.kind is not VerdictKind.CORRECT), None)
    if first is None:
        return ok(name, found)
    if all(v.kind is VerdictKind.GRADED for v in verdicts):
        return _check_graded(name, trial)
    unread = next((v for v in verdicts if v.score is None), None)
    reason = (unread or first).reason
    found += f"; {reason}" if reason else ""
    if unread is not None:
        return fail(name, found, _mend(unread))
    return warn(
        name,
        found,
        "Fine if the reward judges something else than the answer; otherwise set options.gold, "
        "or a reward that reads the answers' form.",
    )


def _check_graded(name: str, trial: Trial) -> Check:
    """Scores have no threshold: what matters is that right answers earn more than wrong ones."""
    right, wrong = trial.right.worth[1], trial.wrong().worth[1]
    if trial.is_constant():
        return fail(
            name,
            f"right, wrong and empty answers all get the score {score_shown(right)}, in whatever "
            "form",
            "Nothing can be learnt from a constant: mend the reward, or the form that it reads "
            "an answer in.",
        )
    form = trial.form.format("GOLD")
    found = f"mean score {score_shown(right)}, written as {form!r}; no accuracy"
    if right > wrong:
        return ok(name, found)
    return warn(
        name,
        f"{found}; wrong ones get {score_shown(wrong)}, no less",
        "Fine if the reward judges something else than the answer; otherwise it reads another "
        "form of answer, or does not tell right from wrong.",
    )


def _check_refused(name: str, tried: Tried, gold: Tried) -> Check:
    kinds = Counter(verdict.kind.value for verdict in tried.verdicts)
    found, accepted = _counts(kinds), bool(kinds[VerdictKind.CORRECT.value])
    if kinds[VerdictKind.GRADED.value]:
        mean, of_gold = tried.worth[1], gold.worth[1]
        found += f", mean score {score_shown(mean)}"
        # Where right answers get nothing either, that is what to mend, and not this.
        accepted = accepted or mean > of_gold or mean == of_gold > 0
    unread = next((v for v in tried.verdicts if v.kind is VerdictKind.UNSCORABLE), None)
    if unread is not None:
        # A gold answer that is only known again word for word tells nothing of other answers.
        return fail(name, f"{found}; {unread.reason}", _mend(unread))
    if not accepted:
        return ok(name, found)
    return warn(
        name,
        found,
        "Fine if the reward judges something else than the answer; otherwise a policy learns to "
        "write these: take a stricter reward.",
    )


def _mend(unread: Verdict) -> str:
    """What to do of an answer without a score."""
    if unread.kind in FAILURES:
        return MEND_FAILURE
    return MEND_NONE if unread.reason.endswith(" gave None") else MEND_GOLD


def _counts(kinds: Counter[str]) -> str:
    total = sum(kinds.values())
    return ", ".join(f"{count} of {total} {kind}" for kind, count in kinds.most_common())
