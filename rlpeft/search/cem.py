"""The cross-entropy method, and its options in a recipe.

C candidate, E elite, K searched number. Higher scores are better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlpeft.errors import ConfigError
from rlpeft.recipe.search import Array, SearchConfig
from rlpeft.search.rank import rank


class CEM:
    """Cross-entropy method with a diagonal Gaussian (Transformer², arXiv 2501.06252, App. A).

    >>> search = CEM([0.5, 0.5], [0.5, 0.5], population_size=32, seed=0)
    >>> for _ in range(30):
    ...     weights_CK = search.ask()
    ...     search.tell(weights_CK, [-float(((w - 0.3) ** 2).sum()) for w in weights_CK])
    >>> [round(float(w), 2) for w in search.best]
    [0.3, 0.3]

    Args:
        mean_K, std_K: where the search begins.
        population_size: C, candidates an iteration.
        elite_fraction: share of the population that makes the next mean and std; one at least.
        std_floor: the std never falls below it.
        bounds: candidates are clamped to these.
        unbiased_std: divide by E - 1 instead of the paper's E; needs two elites.
        seed: decides every draw.
    """

    def __init__(
        self,
        mean_K: Sequence[float],
        std_K: Sequence[float],
        *,
        seed: int,
        population_size: int = 32,
        elite_fraction: float = 0.2,
        std_floor: float = 1e-3,
        bounds: tuple[float, float] = (-np.inf, np.inf),
        unbiased_std: bool = False,
    ) -> None:
        self.mean, self.std = np.array(mean_K, float), np.array(std_K, float)
        self.population_size, self.std_floor, self.bounds = population_size, std_floor, bounds
        # One at least: the reference code may come to none, and then takes all (`[-0:]`).
        self.num_elites = max(1, round(elite_fraction * population_size))
        self.unbiased_std = unbiased_std
        self._rng = np.random.default_rng(seed)
        self.best, self.best_score = self.mean.copy(), (-np.inf, -np.inf)
        if self.mean.shape != self.std.shape or self.mean.ndim != 1 or not (self.std > 0).all():
            raise ConfigError(
                "mean and std must be vectors of one length with std > 0, got shapes "
                f"{self.mean.shape} and {self.std.shape}."
            )
        if not 0 < self.num_elites <= population_size:
            raise ConfigError(f"elite_fraction must be in (0, 1], got {elite_fraction!r}.")
        if unbiased_std and self.num_elites < 2:
            raise ConfigError("unbiased_std needs two elites at least. Raise elite_fraction.")

    def ask(self) -> Array:
        """C draws from N(mean, std²), clamped to the bounds."""
        noise_CK = self._rng.standard_normal((self.population_size, self.mean.size))
        return np.clip(self.mean + self.std * noise_CK, *self.bounds)

    def tell(
        self, candidates_CK: Array, scores_C: Sequence[float], ties_C: Sequence[float] | None = None
    ) -> None:
        """Move to the elites' mean and std; keep the best candidate ever seen.

        Args:
            candidates_CK: the scored candidates, which the caller may have changed.
            scores_C: higher is better; NaN is last.
            ties_C: decides between equal scores, higher first; then the earlier one.

        Raises:
            ConfigError: wrong shapes, or every score is NaN.
        """
        candidates_CK = np.asarray(candidates_CK, float)
        order = rank(scores_C, ties_C, expected=len(candidates_CK))
        if candidates_CK.shape[1:] != self.mean.shape:
            raise ConfigError(
                f"candidates must be [C, {self.mean.size}], got {candidates_CK.shape}."
            )
        elites_EK = candidates_CK[order[: self.num_elites]]
        self.mean = elites_EK.mean(0)
        # Departs from the paper by the floor: elites that agree in a number, as at a bound, would
        # never try another again.
        self.std = np.maximum(elites_EK.std(0, ddof=int(self.unbiased_std)), self.std_floor)
        first = order[0]
        score = (float(scores_C[first]), -np.inf if ties_C is None else float(ties_C[first]))
        # Departs from the reference code, which asks its best again in each iteration: answers are
        # greedy, or of the same seeds, and would be the same.
        if score > self.best_score:
            self.best, self.best_score = candidates_CK[first].copy(), score

    def state_dict(self) -> dict[str, Any]:
        """Mean, std, best and random state, as JSON can hold them."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "best": self.best.tolist(),
            "best_score": list(self.best_score),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`: the next `ask` draws what it would have drawn."""
        self.mean, self.std = np.array(state["mean"]), np.array(state["std"])
        self.best = np.array(state["best"])
        self.best_score = (state["best_score"][0], state["best_score"][1])
        self._rng.bit_generator.state = state["rng"]


class CemSearch(SearchConfig):
    """The cross-entropy method with a diagonal Gaussian (the paper's)."""

    type: Literal["cem"] = "cem"
    elite_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the population that makes the next mean and std."""
    std_floor: Annotated[float, Field(gt=0)] = 1e-3
    """The std never falls below it."""
    unbiased_std: bool = False
    """Divide by one less than the number of elites."""

    def start(self, mean_K: Sequence[float], std_K: Sequence[float], *, seed: int) -> CEM:
        """A search by `CEM`."""
        return CEM(
            mean_K,
            std_K,
            seed=seed,
            population_size=self.population_size,
            elite_fraction=self.elite_fraction,
            std_floor=self.std_floor,
            bounds=self.bounds,
            unbiased_std=self.unbiased_std,
        )
