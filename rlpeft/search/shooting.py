"""Random shooting: what a search must beat to be worth its name.

C candidate, K searched number. Higher scores are better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rlpeft.errors import ConfigError
from rlpeft.recipe.search import Array, SearchConfig
from rlpeft.search.cem import CEM


class RandomShooting(CEM):
    """The control: uniform draws within the bounds, no learning, the best one kept."""

    def ask(self) -> Array:
        """C draws from the uniform distribution on the bounds."""
        if not np.isfinite(self.bounds).all():
            raise ConfigError(f"random shooting needs finite bounds, got {self.bounds!r}.")
        return self._rng.uniform(*self.bounds, (self.population_size, self.mean.size))

    def tell(
        self, candidates_CK: Array, scores_C: Sequence[float], ties_C: Sequence[float] | None = None
    ) -> None:
        """Keep the best candidate; the distribution stays."""
        mean, std = self.mean, self.std
        super().tell(candidates_CK, scores_C, ties_C)
        self.mean, self.std = mean, std


class RandomSearch(SearchConfig):
    """The control: uniform within the bounds, no learning."""

    type: Literal["random"]

    def start(
        self, mean_K: Sequence[float], std_K: Sequence[float], *, seed: int
    ) -> RandomShooting:
        """A search by `RandomShooting`."""
        return RandomShooting(
            mean_K, std_K, seed=seed, population_size=self.population_size, bounds=self.bounds
        )
