"""Few-shot adaptation: search the mixture of experts that answers a handful of shots best
(Transformer², arXiv 2501.06252, §3.2 and App. A).

A search is a chain of stages, each one ask-and-tell loop. The last stage sees all shots. Where
`search.folds` is set, stages before it choose by cross-validation on the shots how coefficients
are shared and whether they are normalised; nothing else is ever consulted.

C candidate, K expert (the base first), M matrix, S searched number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlpeft.experts.mixture import SMALLEST_SUM, ExpertSet
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.search import Array, Search
from rlpeft.runs.checkpoint import load_checkpoint, save_checkpoint
from rlpeft.search.fitness import Fitness, Grader
from rlpeft.search.rank import rank
from rlpeft.types import Problem

KEEP_CHECKPOINTS = 2
ALL_SHOTS = "all shots"
"""The last stage of a search."""


@dataclass(frozen=True, slots=True)
class Arm:
    """How candidates are read as coefficients.

    Attributes:
        per: `vector`: S = K. `matrix`: S = K * M.
        normalise: divide by the sum over experts.
    """

    per: Literal["vector", "matrix"]
    normalise: bool

    def size(self, experts: ExpertSet) -> int:
        """S."""
        return len(experts) * (experts.num_matrices if self.per == "matrix" else 1)

    def coefficients(self, candidate_S: Array, experts: ExpertSet) -> Array:
        """[K] or [K, M]; where all experts are left out, the base stands alone.

        A candidate clamped to zero throughout would leave no model at all, and some matrix of
        many has one often: 0 everywhere, read as "none of the experts", means the base.
        """
        a = candidate_S.reshape(len(experts), -1).copy()
        is_empty_M = np.abs(a.sum(0)) < SMALLEST_SUM
        a[:, is_empty_M], a[0, is_empty_M] = 0.0, 1.0
        return a if self.per == "matrix" else a[:, 0]

    def __str__(self) -> str:
        return f"per {self.per}, {'normalised' if self.normalise else 'free'}"


ARMS = tuple(Arm(per, normalise) for per in ("vector", "matrix") for normalise in (True, False))
"""From the fewest degrees of freedom to the most; the first of equals is chosen."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a search stands.

    Attributes:
        step: iterations done, over all stages.
        total: iterations there will be.
        stage: names the present stage.
    """

    step: int
    total: int
    stage: str


OnIteration = Callable[[Standing, Mapping[str, float]], None]


@dataclass(frozen=True)
class Adaptation:
    """What a search needs.

    Attributes:
        folder: where its state is kept.
    """

    recipe: AdaptRecipe
    folder: Path
    experts: ExpertSet
    shots: Sequence[Problem]
    grader: Grader


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        coefficients: [K] or [K, M].
        fitness: on all shots.
        history: one row an iteration, of every stage.
        validated: arm -> fitness in cross-validation; empty without it.
    """

    arm: Arm
    coefficients: Array
    fitness: Fitness
    history: list[dict[str, Any]]
    validated: dict[str, Fitness]

    @property
    def tied(self) -> bool:
        """Whether all mixtures that were tried on all shots did equally well."""
        rows = [row for row in self.history if row["stage"] == ALL_SHOTS]
        # The mean of equal numbers is not always one of them.
        return all(isclose(row["mean"], self.fitness.value, abs_tol=1e-12) for row in rows)


def total_iterations(recipe: AdaptRecipe) -> int:
    """Iterations of all stages."""
    return recipe.search.iterations * (1 + len(ARMS) * recipe.search.folds)


def adapt(this: Adaptation, on_iteration: OnIteration) -> Found:
    """Search from where the folder's newest checkpoint stands, to the end.

    Args:
        on_iteration: told after each iteration, whose state is safe by then: best and mean
            accuracy, spread (mean std of the searched numbers) and likelihood of the best;
            `graded` is 1 where mean scores stand for accuracies.
    """
    search = this.recipe.search
    saved = load_checkpoint(this.folder) or {"step": 0, "stages": {}}
    run = _Run(this, saved, on_iteration)
    arm, validated = Arm(search.per, search.normalise), {}
    if search.folds:
        found = {each: _cross_validate(run, each) for each in ARMS}
        order = rank(
            [f.value for f in found.values()],
            [f.likelihood for f in found.values()],
            expected=len(ARMS),
        )
        arm, validated = ARMS[order[0]], {str(each): f for each, f in found.items()}
    coefficients, fitness = run.stage(ALL_SHOTS, arm, this.shots)
    history = [row for stage in run.saved["stages"].values() for row in stage["history"]]
    return Found(arm, coefficients, fitness, history, validated)


def folds_of(shots: Sequence[Problem], num_folds: int) -> list[list[Problem]]:
    """Shots dealt out one by one."""
    return [list(shots[fold::num_folds]) for fold in range(num_folds)]


def _cross_validate(run: _Run, arm: Arm) -> Fitness:
    """Fitness on shots that the search did not see, over all folds."""
    this = run.this
    found, weights = [], []
    for number, held_out in enumerate(folds_of(this.shots, this.recipe.search.folds), start=1):
        seen = [shot for shot in this.shots if shot not in held_out]
        coefficients, _ = run.stage(f"{arm}, fold {number}", arm, seen)
        mix = this.experts.mix(coefficients, normalise=arm.normalise)
        found.append(this.grader.fitness([mix], held_out)[0])
        weights.append(len(held_out))
    correct = [w * f.value for w, f in zip(weights, found, strict=True)]
    likelihoods = [
        (c, f.likelihood) for c, f in zip(correct, found, strict=True) if f.likelihood > -np.inf
    ]
    total = sum(c for c, _ in likelihoods)
    likelihood = sum(c * each for c, each in likelihoods) / total if total > 0 else -np.inf
    return Fitness(sum(correct) / sum(weights), likelihood, any(f.graded for f in found))


class _Run:
    """The stages of one adaptation over its saved state."""

    def __init__(self, this: Adaptation, saved: dict[str, Any], tell: OnIteration) -> None:
        self.this, self.saved, self.tell = this, saved, tell

    def stage(self, name: str, arm: Arm, shots: Sequence[Problem]) -> tuple[Array, Fitness]:
        """Run a stage to its end; the best coefficients and their fitness on its shots."""
        recipe, experts = self.this.recipe, self.this.experts
        state = self.saved["stages"].setdefault(name, {"search": None, "history": []})
        search = make_search(recipe, arm.size(experts), len(experts))
        if state["search"] is not None:
            search.load_state_dict(state["search"])
        while len(state["history"]) < recipe.search.iterations:
            row = self._iterate(search, arm, shots)
            state["search"] = search.state_dict()
            state["history"].append({"step": self.saved["step"] + 1, "stage": name} | row)
            self.saved["step"] += 1
            save_checkpoint(self.this.folder, self.saved["step"], self.saved, keep=KEEP_CHECKPOINTS)
            total = total_iterations(recipe)
            self.tell(Standing(self.saved["step"], total, name), row)
        graded = any(row.get("graded") for row in state["history"])
        return arm.coefficients(search.best, experts), Fitness(*search.best_score, graded)

    def _iterate(self, search: Search, arm: Arm, shots: Sequence[Problem]) -> dict[str, float]:
        experts, candidates_CS = self.this.experts, search.ask()
        mixes = [
            experts.mix(arm.coefficients(each_S, experts), normalise=arm.normalise)
            for each_S in candidates_CS
        ]
        found = self.this.grader.fitness(mixes, shots)
        values_C = [f.value for f in found]
        search.tell(candidates_CS, values_C, [f.likelihood for f in found])
        row = {
            "best": search.best_score[0],
            # NaN: no answer of that candidate could be scored.
            "mean": float(np.nanmean(values_C)),
            "spread": float(search.std.mean()),
            "likelihood": search.best_score[1],
        }
        return row | ({"graded": 1.0} if any(f.graded for f in found) else {})


def make_search(recipe: AdaptRecipe, size: int, num_experts: int) -> Search:
    """The recipe's search over `size` numbers, from a uniform mixture.

    Raises:
        ConfigError: its options do not go together.
    """
    # As the reference code starts: every expert alike, and a spread as wide as the bounds.
    low, high = recipe.search.bounds
    mean_S = [min(max(1 / num_experts, low), high)] * size
    std_S = [(high - low) / 2] * size
    return recipe.search.start(mean_S, std_S, seed=recipe.seed)
