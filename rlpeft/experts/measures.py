"""What a set of verdicts amounts to: an accuracy where answers were judged, else a mean score.

A score above zero makes no answer correct. Where a reward says what is correct (a verdict of its
own, `True` or `False`, a recipe's `correct_at`), experts are chosen and compared by accuracy;
where it gives numbers alone, by their mean, and no accuracy is reported.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from math import ceil, isclose, log10
from statistics import fmean
from typing import Annotated, Any, Self, TypeVar

from pydantic import Discriminator, Field, Tag, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from rewards.verdict import Verdict, VerdictKind, count_kinds
from rlpeft.experts.clustered import Estimate, difference, mean_estimate, share_estimate
from rlpeft.experts.intervals import LEVEL, largest_score, mean_interval, wilson_interval
from rlpeft.recipe.adapter import Section
from rlpeft.types import ScoredGroup

K = TypeVar("K", bound=Hashable)
"""What tells problems apart."""

UNREAD = "-"
"""Column of a confusion matrix for answers that give no label."""

Count = Annotated[int, Field(ge=0, lt=2**63)]

ROUNDED = 1e-6
"""By which figures may break a law that they would obey without rounding."""

LARGEST_FIGURE = 1e20
"""Of a mean score, either way: the largest that a reward may give, weighted, with its interval."""


def require_interval(low: float, value: float, high: float, ends: tuple[float, float]) -> None:
    """Refuse figures that nobody can have measured: a card may be a stranger's.

    Args:
        ends: between which all of them lie.

    Raises:
        PydanticCustomError: they are not in order, or beyond the ends.
    """
    least, most = ends
    slack = ROUNDED * max(1.0, abs(value))
    in_order = low <= value + slack and value <= high + slack
    if not (in_order and least - ROUNDED <= min(low, value) and max(value, high) <= most + ROUNDED):
        raise PydanticCustomError(
            "figures",
            "figures must be {least} <= low <= value <= high <= {most}, got low {low}, value "
            "{value}, high {high}",
            {"least": f"{least:g}", "most": f"{most:g}", "low": low, "value": value, "high": high},
        )


class Accuracy(Section):
    """Share of correct answers with its 95 % Wilson interval.

    >>> Accuracy.of(60, 100).low < 0.6 < Accuracy.of(60, 100).high
    True
    """

    value: float
    """Correct / scored."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    correct: Count
    """Completions judged correct."""
    total: Count
    """Completions that could be scored."""
    verdicts: dict[str, Count] = {}
    """Count of every verdict kind, unscored ones included."""
    confusion: dict[str, dict[str, Count]] = {}
    """For labels: gold -> said -> how often; what names no label counts as `UNREAD`."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        require_interval(self.low, self.value, self.high, (0, 1))
        share = self.correct / self.total if self.total else 0.0
        if self.correct > self.total or not isclose(self.value, share, abs_tol=ROUNDED):
            raise PydanticCustomError(
                "share",
                "value must be correct / total, got {value} of {correct} / {total}",
                {"value": self.value, "correct": self.correct, "total": self.total},
            )
        return self

    @classmethod
    def of(cls, correct: int, total: int, verdicts: dict[str, int] | None = None) -> Self:
        """The accuracy of `correct` out of `total`."""
        low, high = wilson_interval(correct, total)
        value = correct / total if total else 0.0
        return cls(
            value=value, low=low, high=high, correct=correct, total=total, verdicts=verdicts or {}
        )

    @property
    def fraction(self) -> tuple[float, int]:
        """Numerator and denominator, by which two measures are compared exactly."""
        return self.correct, self.total

    @property
    def metrics(self) -> dict[str, float]:
        """As a run records it at a validation."""
        return _metrics("eval_accuracy", self)

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


class MeanScore(Section):
    """Mean score with its 95 % interval, where nothing is judged; see `mean_interval`.

    >>> str(MeanScore.of([0.25, 0.25, 0.75, 0.75]))
    '0.50 [0.12, 0.72]'
    """

    value: float
    """Mean over what could be scored."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    total: Count
    """Completions that could be scored."""
    verdicts: dict[str, Count] = {}
    """Count of every verdict kind, unscored ones included."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        ends = -LARGEST_FIGURE, LARGEST_FIGURE
        require_interval(self.low, self.value, self.high, ends)
        return self

    @classmethod
    def of(cls, scores: Sequence[float], verdicts: dict[str, int] | None = None) -> Self:
        """The mean of at least one score."""
        low, high = mean_interval(scores)
        value = fmean(scores)
        return cls(value=value, low=low, high=high, total=len(scores), verdicts=verdicts or {})

    @property
    def fraction(self) -> tuple[float, int]:
        """As `Accuracy.fraction`."""
        return self.value, 1

    @property
    def metrics(self) -> dict[str, float]:
        """As a run records it at a validation."""
        return _metrics("eval_score", self)

    @property
    def are_equal(self) -> bool:
        """Whether it is the mean of equal scores: its interval is then of their number alone."""
        of_equal = mean_interval([self.value] * self.total)
        return all(map(isclose, (self.low, self.high), of_equal))

    def __str__(self) -> str:
        value, low, high = shown(self.value, self.low, self.high)
        return f"{value} [{low}, {high}]"


ITSELF = "The expert is the base itself: they differ in nothing."
"""In the place of a difference that an expert has which is its base."""

MOST_PLACES = 6
"""Decimals of a difference: what lies nearer to 0 is rounding."""


def shown(value: float, low: float, high: float, sign: str = "") -> tuple[str, str, str]:
    """A score and its interval, with as many decimals as the width of the interval bears.

    >>> shown(0.7, 0.66818, 0.73019), shown(0.0134, 0.01272, 0.01409)
    (('0.70', '0.67', '0.73'), ('0.0134', '0.0127', '0.0141'))
    """
    form = f"{sign}.{_places(low, high)}f"
    return format(value, form), format(low, form), format(high, form)


def _places(low: float, high: float) -> int:
    """Decimals, at least two, in which the ends lie three units or more apart."""
    return max(2, ceil(-log10((high - low) / 3))) if high > low else 3


def shown_difference(
    value: float, low: float, high: float, *, judged: bool
) -> tuple[str, str, str]:
    """A difference and its interval: of accuracies in points, of scores as `shown`.

    With more decimals where a bound would be read as 0: from the side on which it lies follows
    whether one is better.

    >>> shown_difference(0.125, 0.0004, 0.25, judged=True)
    ('+12.50', '+0.04', '+25.00')
    >>> shown_difference(-0.00001, -0.02, 0.02, judged=True)
    ('+0.0', '-2.0', '+2.0')
    """
    places = 1 if judged else _places(low, high)
    value, low, high = (100 * each if judged else each for each in (value, low, high))
    while places < MOST_PLACES and any(bound and not round(bound, places) for bound in (low, high)):
        places += 1
    form = f"+z.{places}f"
    return format(value, form), format(low, form), format(high, form)


def _kind(found: Any) -> str:
    counts = "correct" in found if isinstance(found, Mapping) else hasattr(found, "correct")
    return "accuracy" if counts else "score"


Measure = Annotated[
    Annotated[Accuracy, Tag("accuracy")] | Annotated[MeanScore, Tag("score")], Discriminator(_kind)
]

_READER: TypeAdapter[Measure] = TypeAdapter(Measure)


def read_measure(tree: Mapping[str, Any]) -> Measure:
    """A measure from what `model_dump` wrote; an accuracy is what counts correct answers."""
    return _READER.validate_python(dict(tree))


def measure_of(verdicts: Sequence[Verdict]) -> Measure:
    """The accuracy of these verdicts, or their mean score if one of them is graded alone."""
    counts = count_kinds(verdict.kind for verdict in verdicts)
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    if counts.get(VerdictKind.GRADED):
        return MeanScore.of(scores, counts)
    return Accuracy.of(counts[VerdictKind.CORRECT], len(scores), counts)


class PairedDifference(Estimate):
    """What one policy's answers are worth less another's to the same problems, paired by problem.

    Two intervals of their own that overlap tell nothing: both policies find the same problems hard.
    """

    judged: bool
    """Whether it is of accuracies; else of mean scores."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        most = 1 if self.judged else LARGEST_FIGURE
        require_interval(self.low, self.value, self.high, (-most, most))
        return self

    def said(self, called: str = "its base", ours: str = "expert") -> str:
        """The difference with its interval, and what follows from it.

        Args:
            called: what the first policy is compared with.
            ours: the first policy.
        """
        better = f"the {ours} is better than {called}" if self.low > 0 else ""
        worse = f"the {ours} is worse than {called}" if self.high < 0 else ""
        untold = f"these {self.problems} problems do not tell the {ours} from {called}"
        return f"{ours.capitalize()} less {called}: {self}: {better or worse or untold}."

    def __str__(self) -> str:
        value, low, high = shown_difference(self.value, self.low, self.high, judged=self.judged)
        return f"{value}{' points' * self.judged} (95 % interval {low} to {high})"


def difference_of(
    ours: Sequence[ScoredGroup], theirs: Sequence[ScoredGroup]
) -> PairedDifference | None:
    """Ours less theirs, of one answer a problem, over the problems with scored answers of both.

    `None` where there is no such problem.
    """
    every = (verdict for scored in (*ours, *theirs) for verdict in scored.verdicts)
    judged = all(verdict.kind is not VerdictKind.GRADED for verdict in every)
    own, other = (_by_problem(groups, judged=judged) for groups in (ours, theirs))
    return paired(own, other, judged=judged)


def paired(
    own: Mapping[K, float],
    other: Mapping[K, float],
    *,
    judged: bool,
    level: float = LEVEL,
) -> PairedDifference | None:
    """One value a problem less another, over the problems of both; `None` where there is none."""
    both = [problem for problem in own if problem in other]
    if not both:
        return None
    own_P, other_P = [own[problem] for problem in both], [other[problem] for problem in both]
    most = 1.0 if judged else largest_score([*own_P, *other_P])
    of = partial(share_estimate, draws=len(both)) if judged else partial(mean_estimate, most=most)
    ours, theirs = (of(values_P, level=level) for values_P in (own_P, other_P))
    found = difference(own_P, other_P, ours, theirs, level=level, most=most)
    return PairedDifference(**found.model_dump(), judged=judged)


def _by_problem(groups: Sequence[ScoredGroup], *, judged: bool) -> dict[str, float]:
    """Of each problem whose first answer could be scored: whether it is correct, or its score."""
    return {
        scored.group.problem.id: verdict.kind is VerdictKind.CORRECT if judged else verdict.score
        for scored in groups
        for verdict in scored.verdicts[:1]
        if verdict.score is not None
    }


def confusion_of(groups: Sequence[ScoredGroup], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Gold -> said -> count over all labels; empty if there are none."""
    if not labels:
        return {}
    counts = {gold: dict.fromkeys([*labels, UNREAD], 0) for gold in labels}
    known = {label.casefold(): label for label in labels}
    for scored in groups:
        of_gold = counts[known[scored.group.problem.answer.casefold()]]
        for verdict in scored.verdicts:
            of_gold[known.get((verdict.extracted or "").casefold(), UNREAD)] += 1
    return counts


def _metrics(name: str, found: Measure) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
