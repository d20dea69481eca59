"""What experts are worth: each on the same problems, and proven before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlpeft.evaluate import evaluate, measures_by_task
from rlpeft.experts.files import Expert
from rlpeft.experts.measures import Measure
from rlpeft.program.parts import Parts
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.proof import Proof
from rlpeft.scoring import by_task
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem, Sampling, ScoredGroup

Measured = tuple[Measure, Sequence[ScoredGroup]]
"""What one policy's answers are worth, and these."""


@dataclass(frozen=True)
class Examiner:
    """Measures what a learner holds, on every engine of its fleet.

    Attributes:
        canary, bound: what proves that the engines hold it, too; see `Proof`.
        labels: the closed set of answers, if there is one.
    """

    parts: Parts
    prompter: Prompter
    sampling: Sampling
    canary: Sequence[Sequence[int]]
    bound: float
    labels: Sequence[str] = ()

    def proof(self) -> Proof:
        """The learner's adapter as it is now, with what proves its delivery."""
        return self.parts.learner.proof(self.canary, self.bound)

    def load(self, expert: Expert) -> Proof:
        """Put an expert into the learner."""
        self.parts.learner.load_adapter(expert.state())
        return self.proof()

    def measure(self, proof: Proof, problems: Sequence[Problem]) -> Measured:
        """What one policy's greedy answers are worth, and these."""
        self.parts.fleet.sync(proof)
        return evaluate(
            problems,
            self.parts.fleet,
            self.parts.scorer,
            prompter=self.prompter,
            sampling=self.sampling.greedy,
            step=proof.state.version,
            labels=self.labels,
            conversations=self.parts.conversations,
        )


def parts_of(measured: Measured) -> dict[str, Measured]:
    """The same of each task of a recipe of several, by its label; of one alone, nothing."""
    groups = by_task(measured[1])
    return {label: (found, groups[label]) for label, found in measures_by_task(measured[1]).items()}


def labels_of(recipe: Recipe) -> tuple[str, ...]:
    """The closed set of answers of a classification recipe; empty for any other."""
    if len(recipe.alone) > 1:
        return ()
    first = recipe.rewards[0]
    return tuple(first.options.get("labels", ())) if first.name == "label" else ()
