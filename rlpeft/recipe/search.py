"""The `[search]` section of a recipe of `rlpeft adapt`: which algorithm mixes experts, and how.

An algorithm is a file with its options, a `SearchConfig` that starts it, and one line of
`ALGORITHMS`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from rlpeft.recipe.adapter import Section

Array = npt.NDArray[np.float64]

ALGORITHMS = {
    "cem": "rlpeft.search.cem:CemSearch",
    "cma": "rlpeft.search.cma:CmaSearch",
    "random": "rlpeft.search.shooting:RandomSearch",
}
"""Each algorithm by its `search.type`: where its section is, which is imported when it is read."""


class Search(Protocol):
    """Ask and tell: the search knows nothing of models, its caller nothing of Gaussians.

        search = CEM(mean_K, std_K, seed=0)
        for _ in range(iterations):
            weights_CK = search.ask()
            search.tell(weights_CK, [fitness(weights_K) for weights_K in weights_CK])
        search.best

    Higher scores are better, everywhere. C candidate, K searched number (for experts: one a
    vector, or one a vector and matrix, flattened).

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


class SearchConfig(Section):
    """What every algorithm is told; each adds its `type` and options of its own."""

    population_size: Annotated[int, Field(ge=2)] = 32
    """Mixtures scored in one iteration, all of them in one batch."""
    iterations: Annotated[int, Field(ge=1)] = 50
    """Populations asked for."""
    bounds: tuple[float, float] = (0.0, 1.0)
    """Range of a coefficient; the search starts with half of it as its std."""
    per: Literal["vector", "matrix"] = "vector"
    """`vector`: one coefficient an expert. `matrix`: one an expert and adapted matrix."""
    normalise: bool = True
    """Divide coefficients by their sum."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Answers of a shot, sampled as `[rollout]` says: their mean tells mixtures apart that one
    greedy answer a shot ranks alike. 0: the greedy answer, as in the paper."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Choose `per` and `normalise` by cross-validation on the shots; 0: take them as given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"search.bounds must rise, got {list(self.bounds)!r}.")
        if self.folds == 1:
            raise ValueError("search.folds must be 0 or at least 2, got 1.")
        return self

    @abstractmethod
    def start(self, mean_K: Sequence[float], std_K: Sequence[float], *, seed: int) -> Search:
        """The search itself, from a mean and a std; `seed` decides every draw.

        Raises:
            ConfigError: the options do not go together.
        """
