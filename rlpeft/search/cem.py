"""Search by ask and tell: the searcher knows nothing of models, the caller nothing of Gaussians.

    search = CEM(mean_K, std_K, seed=0)
    for _ in range(iterations):
        weights_CK = search.ask()
        search.tell(weights_CK, [fitness(weights_K) for weights_K in weights_CK])
    search.best

Higher scores are better, everywhere here. C candidate, K searched number (for experts: one a
vector, or one a vector and matrix, flattened).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rlpeft.errors import ConfigError

Array = npt.NDArray[np.float64]


class Search(Protocol):
    """What every searcher here does.

    Attributes:
        best: best candidate ever told [K].
        best_score: its score and tie-break.
    """

    best: Array
    best_score: tuple[float, float]

    @property
    def std(self) -> Array:
        """Spread of what would be asked next [K]."""
        ...

    def ask(self) -> Array:
        """Candidates [C, K] to be scored."""
        ...

    def tell(
        self, candidates_CK: Array, scores_C: Sequence[float], ties_C: Sequence[float] | None = None
    ) -> None:
        """Learn from scores; `ties_C` decides between equal scores."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next, the random state included; JSON can hold it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...


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
        self.std = np.maximum(elites_EK.std(0, ddof=int(self.unbiased_std)), self.std_floor)
        first = order[0]
        score = (float(scores_C[first]), -np.inf if ties_C is None else float(ties_C[first]))
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


def rank(
    scores_C: Sequence[float], ties_C: Sequence[float] | None, *, expected: int
) -> npt.NDArray[np.int64]:
    """Indices from best to worst: by score, then tie-break, then position; NaN last.

    Raises:
        ConfigError: another number of scores than expected, or nothing but NaN.
    """
    scores = np.array(scores_C, float)
    ties = np.zeros_like(scores) if ties_C is None else np.array(ties_C, float)
    if scores.shape != (expected,) or ties.shape != scores.shape:
        raise ConfigError(
            f"there must be one score and tie-break for each of {expected} candidates, got "
            f"{scores.shape} and {ties.shape}."
        )
    if np.isnan(scores).all():
        raise ConfigError("at least one candidate must have a score, all are NaN.")
    keys = (-np.nan_to_num(ties, nan=-np.inf), -np.nan_to_num(scores, nan=-np.inf))
    return np.lexsort(keys)
