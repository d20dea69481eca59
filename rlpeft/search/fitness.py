"""What a mixture is worth: its accuracy on the shots, and how sure it is of its correct answers.

Where rewards judge nothing, their mean score stands for the accuracy, and each answer's likelihood
counts by its score. Accuracy on ten shots ties often. Ties go to the mixture that gives its own
correct answers the higher mean log-likelihood (Transformer², arXiv 2501.06252, App. A); one with no
correct answer has none, and wins no tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from statistics import fmean
from typing import Self

from rewards.verdict import Verdict, VerdictKind
from rlpeft.adapter_state import AdapterState
from rlpeft.rollout.fleet import Answer, ExpertFleet
from rlpeft.rollout.groups import rollout_seed
from rlpeft.scoring import Scores, score_groups
from rlpeft.search.journal import Journal, Key, Outcome
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Completion, Group, Problem, Request, Sampling, ScoredGroup

DECIMALS = 4
"""Of log-likelihoods that are compared: what is beyond is the rounding of a batch, and a search
must not depend on how many engines share it."""


@dataclass(frozen=True, slots=True)
class Fitness:
    """Higher is better, `value` first.

    >>> Fitness.of([Outcome(True, -0.5), Outcome(False, -0.1)])
    Fitness(value=0.5, likelihood=-0.5, graded=False)

    Attributes:
        value: accuracy, or mean score, over what was scored; NaN if nothing could be.
        likelihood: mean over the correct answers of their mean token log-prob, rounded to
            `DECIMALS`; -inf if none is.
        graded: whether `value` is a mean score.
    """

    value: float
    likelihood: float
    graded: bool = False

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Self:
        """The fitness that these outcomes make."""
        scored = [(found.worth, found.logprob) for found in outcomes if found.worth is not None]
        worths = [float(worth) for worth, _ in scored]
        # A reward may give less than nothing, and no mean has negative weights.
        weights = [max(worth, 0.0) for worth in worths]
        logprobs = [logprob for _, logprob in scored]
        return cls(
            fmean(worths) if worths else float("nan"),
            round(fmean(logprobs, weights), DECIMALS) if any(weights) else float("-inf"),
            any(not isinstance(worth, bool) for worth, _ in scored),
        )

    def as_dict(self) -> dict[str, float]:
        """For a card or a summary; the value's key says what it is."""
        return {"score" if self.graded else "accuracy": self.value, "likelihood": self.likelihood}


Pairs = Sequence[tuple[Key, Problem]]
"""What is asked for at once, and how each answer is known afterwards."""


@dataclass(frozen=True)
class Grader:
    """Answers problems with mixtures, none of them twice.

    Attributes:
        fleet: its engines hold whatever mixtures are asked for.
        sampling: greedy, as the mixtures will be judged, unless it takes several samples.
        seed: of the completions.
        journal: what is known already.
        samples: answers of each mixture to each problem.
        parallel: batches that are asked for at once, for a fleet that takes several; each is
            written down as soon as it is answered.
    """

    fleet: ExpertFleet
    scorer: Scores
    prompter: Prompter
    sampling: Sampling
    seed: int
    journal: Journal
    samples: int = 1
    parallel: int = 1

    def fitness(self, mixes: Sequence[AdapterState], problems: Sequence[Problem]) -> list[Fitness]:
        """Fitness of each mixture on these problems; all of them share one batch."""
        self._answer({mix.digest: mix for mix in mixes}, problems)
        return [
            Fitness.of(self.journal[key] for key, _ in self._pairs([mix.digest], problems))
            for mix in mixes
        ]

    def _answer(self, mixes: Mapping[str, AdapterState], problems: Sequence[Problem]) -> None:
        pairs = self._pairs(mixes, problems)
        # Shared out before what is known is left out: a search that was cut off asks for just the
        # batches that it lacks. Answers are rounded by the company they are computed in.
        shares = [pairs[start :: self.parallel] for start in range(self.parallel)]
        parts = [part for share in shares if (part := self._missing(share))]
        wanted = dict.fromkeys(key.digest for part in parts for key, _ in part)
        if not wanted:
            return
        self.fleet.load_experts({digest: mixes[digest] for digest in wanted})
        asked: dict[Answer, tuple[Pairs, list[Answer]]] = {}
        for part in parts:
            answers = self.fleet.submit(self._requests(part), self.sampling)
            asked[answers[0]] = part, answers
        for first in as_completed(asked):
            self._record(*asked[first])

    def _missing(self, pairs: Pairs) -> Pairs:
        return [(key, problem) for key, problem in pairs if key not in self.journal]

    def _requests(self, part: Pairs) -> list[Request]:
        return [
            Request(
                f"{key.digest[:16]}/{key.problem}",
                self.prompter.ids(problem),
                (key.seed,),
                key.digest,
                images=problem.images,
            )
            for key, problem in part
        ]

    def _record(self, part: Pairs, answers: Sequence[Answer]) -> None:
        groups = [
            Group(problem, self.prompter.ids(problem), tuple(answer.result()))
            for (_, problem), answer in zip(part, answers, strict=True)
        ]
        scored = score_groups(groups, self.scorer, step=0).groups
        pairs = zip(part, scored, strict=True)
        self.journal.add({key: _outcome(answer) for (key, _), answer in pairs})

    def _pairs(self, digests: Iterable[str], problems: Sequence[Problem]) -> Pairs:
        return [
            (Key(digest, problem.id, rollout_seed(self.seed, problem.id, sample)), problem)
            for digest in digests
            for problem in problems
            for sample in range(self.samples)
        ]


def mean_logprob(completion: Completion) -> float:
    """Mean log-prob of a completion's tokens; 0 for one without any."""
    return fmean(completion.logprobs) if completion.logprobs else 0.0


def _outcome(scored: ScoredGroup) -> Outcome:
    """Of a group with one member."""
    (answer,), (verdict,) = scored.group.completions, scored.verdicts
    return Outcome(_worth(verdict), mean_logprob(answer))


def _worth(verdict: Verdict) -> bool | float | None:
    if verdict.score is None or verdict.kind is VerdictKind.GRADED:
        return verdict.score
    return verdict.kind is VerdictKind.CORRECT
