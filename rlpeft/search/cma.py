"""CMA-ES, and its options in a recipe.

C candidate, K searched number. Higher scores are better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlpeft.errors import ConfigError
from rlpeft.recipe.search import Array, SearchConfig
from rlpeft.search.rank import rank


class CmaEs:
    """CMA-ES (N. Hansen, arXiv 1604.00772) by pycma: a full covariance, learned from ranks.

    Its state is the ranks it was told: a search of the same seed that is told them again draws the
    same candidates and ends in the same state, bit for bit.

    Args:
        mean_K, std_K: where the search begins.
        population_size: C, candidates an iteration.
        std_floor: no coordinate's std falls below it.
        bounds: candidates lie within these.
        seed: decides every draw.
    """

    def __init__(
        self,
        mean_K: Sequence[float],
        std_K: Sequence[float],
        *,
        seed: int,
        population_size: int = 32,
        std_floor: float = 1e-3,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        from cma import CMAEvolutionStrategy

        std = np.array(std_K, float)
        if std.shape != (len(mean_K),) or std.size < 2 or not (std > 0).all():
            raise ConfigError(
                "CMA-ES needs mean and std of one length, two at least, with std > 0, got "
                f"{len(mean_K)} and {std.tolist()!r}."
            )
        self.best, self.best_score = np.array(mean_K, float), (-np.inf, -np.inf)
        self._rng = np.random.default_rng(seed)
        self._told: list[list[float]] = []
        options = {
            "popsize": population_size,
            "bounds": [float(bound) if np.isfinite(bound) else None for bound in bounds],
            "minstd": std_floor,
            # It takes one size for all coordinates, and theirs relative to it.
            "CMA_stds": std / std.mean(),
            # Without a seed of its own it leaves numpy's global generator alone.
            "seed": np.nan,
            "randn": lambda *shape: self._rng.standard_normal(shape),
            "verbose": -9,
        }
        self._es = CMAEvolutionStrategy(list(mean_K), float(std.mean()), options)
        self._asked: Array | None = None

    @property
    def mean(self) -> Array:
        """Where the distribution is centred [K]."""
        return np.array(self._es.result.xfavorite)

    @property
    def std(self) -> Array:
        """Standard deviation of each coordinate [K]."""
        return np.array(self._es.result.stds)

    def ask(self) -> Array:
        """C draws; the same ones until they are told."""
        if self._asked is None:
            self._asked = np.array(self._es.ask())
        return self._asked.copy()

    def tell(
        self, candidates_CK: Array, scores_C: Sequence[float], ties_C: Sequence[float] | None = None
    ) -> None:
        """Learn from the order of the candidates, which must be those asked for."""
        asked_CK = self.ask()
        if not np.array_equal(asked_CK, candidates_CK):
            raise ConfigError("CMA-ES must be told the candidates it was asked for, unchanged.")
        order = rank(scores_C, ties_C, expected=len(asked_CK))
        # Ranks in the place of scores: it learns from the order alone, and knows no tie-breaks, and
        # NaN would be no rank.
        losses_C = np.empty(len(order))
        losses_C[order] = np.arange(len(order))
        self._learn(losses_C.tolist())
        first = order[0]
        score = (float(scores_C[first]), -np.inf if ties_C is None else float(ties_C[first]))
        if score > self.best_score:
            self.best, self.best_score = asked_CK[first], score

    def _learn(self, losses_C: list[float]) -> None:
        self._es.tell(list(self.ask()), losses_C)
        self._asked = None
        self._told.append(losses_C)

    def state_dict(self) -> dict[str, Any]:
        """All that it was told, and the best candidate."""
        return {
            "told": list(self._told),
            "best": self.best.tolist(),
            "best_score": list(self.best_score),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Tell a fresh search again what the other was told."""
        if self._told:
            raise ConfigError("a CMA-ES state must be loaded into a fresh search.")
        for losses_C in state["told"]:
            self._learn(losses_C)
        self.best = np.array(state["best"])
        self.best_score = (state["best_score"][0], state["best_score"][1])


class CmaSearch(SearchConfig):
    """CMA-ES, a full covariance."""

    type: Literal["cma"]
    std_floor: Annotated[float, Field(gt=0)] = 1e-3
    """The std never falls below it."""

    def start(self, mean_K: Sequence[float], std_K: Sequence[float], *, seed: int) -> CmaEs:
        """A search by `CmaEs`."""
        return CmaEs(
            mean_K,
            std_K,
            seed=seed,
            population_size=self.population_size,
            std_floor=self.std_floor,
            bounds=self.bounds,
        )
