"""What the answers of an evaluation amount to.

    avg@n    mean over problems of the share of its samples that are correct (accuracy for n = 1)
    pass@k   mean over problems of the probability that one of k samples is
    maj@n    mean over problems of whether the answer that most samples give is

Where rewards give numbers alone, the first is a mean score and the others do not exist. An answer
that could not be scored is no sample, and a problem without any is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from statistics import fmean
from typing import Any

from jobs.evaluation.asked import Exam, Survey
from jobs.evaluation.kept import AnswerRow
from jobs.exams import Samples, identity
from rewards.errors import RewardError
from rewards.registry import is_verifier
from rewards.verdict import VerdictKind, count_kinds
from rewards.votes import SameAnswer, compares_answers, leading, same_answer
from rlpeft.errors import ConfigError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.clustered import (
    Estimate,
    corrected_level,
    difference,
    mean_estimate,
    pass_at_k,
    share_estimate,
)
from rlpeft.experts.hub import known_as
from rlpeft.experts.intervals import LEVEL, largest_score
from rlpeft.types import Problem

Cell = Mapping[str, Sequence[AnswerRow]]
"""Problem -> the samples that could be scored, of one policy on one exam."""

Value = Callable[[Sequence[AnswerRow]], float | None]
"""Of a problem, from its samples; `None` where these are too few."""


@dataclass(frozen=True)
class Answered:
    """One exam, answered by all.

    Attributes:
        rows: every completion, by policy.
    """

    exam: Exam
    samples: Samples
    rows: Mapping[str, Sequence[AnswerRow]]

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """What could be scored, by policy."""
        found: dict[str, Cell] = {}
        for name, rows in self.rows.items():
            cell: dict[str, list[AnswerRow]] = defaultdict(list)
            for row in rows:
                if row["reward"] is not None:
                    cell[row["problem"]].append(row)
            if not cell:
                counts = count_kinds(VerdictKind(row["verdict"]) for row in rows)
                raise RewardError(
                    f"some of {len(rows)} completions of {name!r} on {self.exam.name!r} must be "
                    f"scorable, none is ({_counted(counts)}). Mend the gold answers, or a reward "
                    "that returns None."
                )
            found[name] = cell
        return found

    @cached_property
    def judged(self) -> bool:
        """Whether rewards say what is correct, and not numbers alone."""
        every = (row["verdict"] for rows in self.rows.values() for row in rows)
        return VerdictKind.GRADED not in every

    @cached_property
    def voter(self) -> str | None:
        """The reward whose answers vote; `None` where rewards find no answer in a completion."""
        every = (row["extracted"] for rows in self.rows.values() for row in rows)
        names = [reward.name for reward in self.exam.recipe.rewards if is_verifier(reward.name)]
        return next(iter(names), None) if any(every) else None

    @property
    def lead(self) -> str:
        """The metric by which policies are compared."""
        if self.samples.number > 1:
            return f"avg@{self.samples.number}"
        return "accuracy" if self.judged else "score"

    @cached_property
    def values(self) -> dict[str, Value]:
        """Each metric as a function of a problem's samples.

        Raises:
            ConfigError: pass@k is asked for, and no reward gives it.
        """
        number, ks = self.samples.number, self.samples.ks
        if not self.judged:
            if ks:
                raise ConfigError(
                    f"--k asks for pass@{ks[0]}, which no reward of {self.exam.name!r} gives: "
                    "they give numbers and no verdicts. Leave it out, or say from which score an "
                    f"answer is correct, such as --set reward.{self._unjudged}.correct_at=1"
                )
            return {self.lead: _mean_score}
        found: dict[str, Value] = {self.lead: _share_correct}
        for k in ks or ((number,) if number > 1 else ()):
            found[f"pass@{k}"] = partial(_pass, k=k)
        if number > 1:
            found[f"maj@{number}"] = partial(_majority, same=self._same, letters=not self.voter)
        return found

    @property
    def _unjudged(self) -> int:
        """The place of a reward that may be given a bound, as `--set` takes it."""
        rewards = enumerate(self.exam.recipe.rewards)
        return next((at for at, reward in rewards if reward.correct_at is None), 0)

    @cached_property
    def _same(self) -> SameAnswer:
        options = {reward.name: reward.options for reward in self.exam.recipe.rewards}
        return same_answer(self.voter or "", options.get(self.voter or "", {}))

    def by_problem(self, name: str, metric: str) -> dict[str, float]:
        """A metric of one policy, problem by problem."""
        value = self.values[metric]
        each = {problem: value(samples) for problem, samples in self.cells[name].items()}
        return {problem: found for problem, found in each.items() if found is not None}

    @cached_property
    def most(self) -> float | None:
        """The largest value of a problem that there may be; see `largest_score`."""
        if self.judged:
            return 1.0
        every = (self.by_problem(name, self.lead).values() for name in self.cells)
        return largest_score(chain.from_iterable(every))

    def estimate(
        self, name: str, metric: str, values: Sequence[float], level: float = LEVEL
    ) -> Estimate:
        """The mean of a metric over problems."""
        if not self.judged:
            return mean_estimate(values, level=level, most=self.most)
        draws = len(values)  # a vote is one draw of its problem
        if not metric.startswith("maj@"):
            k = int(metric.partition("@")[2]) if metric.startswith("pass@") else 1
            draws = max(draws, sum(map(len, self.cells[name].values())) // k)
        return share_estimate(values, draws=draws, level=level)

    def against_base(self, name: str, level: float) -> Estimate:
        """The leading metric of an expert less the base's, on the problems that both have."""
        ours, theirs = (self.by_problem(who, self.lead) for who in (name, BASE))
        both = [problem for problem in ours if problem in theirs]
        ours_P, theirs_P = [ours[p] for p in both], [theirs[p] for p in both]
        sides = (
            self.estimate(who, self.lead, values, level)
            for who, values in ((name, ours_P), (BASE, theirs_P))
        )
        return difference(ours_P, theirs_P, *sides, level=level, most=self.most)


def figures(survey: Survey, rows: Iterable[AnswerRow]) -> dict[str, Any]:
    """Every figure, as `--json` prints them.

    Raises:
        ConfigError: pass@k of rewards that judge nothing.
        RewardError: not one answer of a policy could be scored.
    """
    found: dict[str, dict[str, list[AnswerRow]]] = {
        exam.name: {name: [] for name in survey.names} for exam in survey.exams
    }
    for row in rows:
        found[row["task"]][row["expert"]].append(row)
    comparisons, drawn = len(survey.experts) * len(survey.exams), survey.samples
    return {
        "split": drawn.split,
        "samples": drawn.number,
        "temperature": drawn.temperature,
        "seed": drawn.seed,
        "level": LEVEL,
        "comparisons": comparisons,
        "asked_again": asked_again([exam.problems for exam in survey.exams]),
        "base_digest": survey.base.digest,
        "tokenizer_digest": survey.base.tokenizer_digest,
        "experts": {
            name: {"folder": known_as(survey.folders[name]), **identity(expert.card)}
            for name, expert in survey.experts.items()
        },
        "tasks": {
            exam.name: _of_exam(Answered(exam, drawn, found[exam.name]), comparisons)
            for exam in survey.exams
        },
    }


def asked_again(problems: Sequence[Sequence[Problem]]) -> dict[str, int]:
    """Of the problems of each task, how many ask word for word what one before them asks.

    Returns:
        `within`: those of their own task. `across`: prompts that several tasks ask.
    """
    asked = [{repr(problem.prompt) for problem in of_task} for of_task in problems]
    tasks = Counter(prompt for of_task in asked for prompt in of_task)
    return {
        "within": sum(map(len, problems)) - sum(map(len, asked)),
        "across": sum(count > 1 for count in tasks.values()),
    }


def _of_exam(answered: Answered, comparisons: int) -> dict[str, Any]:
    exam, level = answered.exam, corrected_level(comparisons)
    results: dict[str, Any] = {}
    for name, rows in answered.rows.items():
        each = {
            metric: answered.estimate(name, metric, [*answered.by_problem(name, metric).values()])
            for metric in answered.values
        }
        results[name] = {
            **{metric: estimate.model_dump() for metric, estimate in each.items()},
            "verdicts": count_kinds(VerdictKind(row["verdict"]) for row in rows),
            "mean_tokens": fmean(row["num_tokens"] for row in rows),
        }
        if name != BASE:
            results[name]["against_base"] = answered.against_base(name, level).model_dump()
    return {
        "problems": len(exam.problems),
        "judged": answered.judged,
        "metrics": list(answered.values),
        "majority": _majority_by(answered.voter),
        "stop": list(exam.sampling.stop),
        "max_tokens": exam.sampling.max_tokens,
        "results": results,
    }


def _majority_by(voter: str | None) -> str:
    """What makes two answers one, for a person."""
    if voter is None:
        return "completions are one where their letters are"
    if compares_answers(voter):
        return f"answers are one where reward {voter!r} says so"
    return f"answers as reward {voter!r} finds them are one where their letters are"


def _correct(samples: Sequence[AnswerRow]) -> list[bool]:
    return [row["verdict"] == VerdictKind.CORRECT for row in samples]


def _share_correct(samples: Sequence[AnswerRow]) -> float:
    return fmean(_correct(samples))


def _mean_score(samples: Sequence[AnswerRow]) -> float:
    return fmean(row["reward"] for row in samples)


def _pass(samples: Sequence[AnswerRow], *, k: int) -> float | None:
    return pass_at_k(sum(_correct(samples)), len(samples), k) if len(samples) >= k else None


def _majority(samples: Sequence[AnswerRow], *, same: SameAnswer, letters: bool) -> float:
    """Whether the winner is correct; of several that tie, the share that are."""
    answers = [row["completion"].strip() if letters else row["extracted"] for row in samples]
    first = [party[0] for party in leading(answers, same)]
    return fmean(_correct([samples[at] for at in first])) if first else 0.0


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
