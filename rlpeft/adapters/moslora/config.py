"""Options of MoSLoRA as a PEFT method."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peft.utils import PeftType

from rlpeft.adapters.config import about
from rlpeft.adapters.geometry import MAPS, Map
from rlpeft.adapters.lowrank.config import LowRankConfig
from rlpeft.adapters.moslora.spaces import SPACES
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import MoSLoraAdapter

ROUTERS = ("linear", "mlp", "z")
HIDDEN = 8
"""Hidden units of the `mlp` router."""


@dataclass
class MoSLoraConfig(LowRankConfig):
    """Configuration of Mixture-of-Space LoRA (arXiv 2602.14490): one low-rank expert a space.

    `r` is the rank of the LoRA whose parameter count is not exceeded; each expert gets the
    largest equal rank that fits, router and curvatures included.

    >>> MoSLoraConfig(target_modules=["o_proj"]).spaces
    ['euclidean', 'hyperbolic', 'spherical']
    """

    spaces: list[str] = field(
        default_factory=lambda: ["euclidean", "hyperbolic", "spherical"],
        metadata=about(MoSLoraAdapter, "spaces"),
    )
    map: Map = field(
        default="proj",
        metadata=about(MoSLoraAdapter, "map"),
    )
    router: str = field(
        default="linear",
        metadata=about(MoSLoraAdapter, "router"),
    )
    curvature: float = field(
        default=0.25,
        metadata=about(MoSLoraAdapter, "curvature"),
    )
    learn_curvature: bool = field(
        default=True,
        metadata=about(MoSLoraAdapter, "learn_curvature"),
    )
    balance_coef: float = field(
        default=1e-2,
        metadata=about(MoSLoraAdapter, "balance_coef"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.MOSLORA
        unknown = [space for space in self.spaces if space not in SPACES]
        if unknown or not self.spaces:
            raise ConfigError(f"spaces must be among {sorted(SPACES)}, got {self.spaces!r}.")
        for name, value, known in (("map", self.map, MAPS), ("router", self.router, ROUTERS)):
            if value not in known:
                raise ConfigError(f"{name} must be one of {known}, got {value!r}.")
        if not (math.isfinite(self.curvature) and 0 <= self.curvature <= 100):
            raise ConfigError(
                "curvature must be |kappa| between 0 and 100 (the space gives the sign), got "
                f"{self.curvature!r}."
            )
        if self.learn_curvature and self.num_curvatures:
            self.check_start("curvature", self.curvature)
        if not (math.isfinite(self.balance_coef) and self.balance_coef >= 0):
            raise ConfigError(f"balance_coef must be at least 0, got {self.balance_coef!r}.")

    @property
    def num_curvatures(self) -> int:
        """Curvatures of one module, over all experts."""
        return sum(len(SPACES[space].signs) for space in self.spaces)

    def expert_rank(self, module_name: str, *, in_features: int, out_features: int) -> int:
        """The largest rank an expert can have within the parameters of a LoRA of rank r.

        Raises:
            ConfigError: not even rank 1 fits.
        """
        rank, num = self.rank_of(module_name), len(self.spaces)
        budget, unit = rank * (in_features + out_features), in_features + out_features
        for candidate in range(rank // num, 0, -1):
            router = router_size(self.router, in_features, num * candidate, num)
            if num * candidate * unit + router + self.num_curvatures <= budget:
                return candidate
        raise ConfigError(
            f"r must leave each of {num} experts a rank of at least 1 beside the router, got "
            f"r={rank} for {module_name!r} (in={in_features}, out={out_features}, "
            f"router={self.router!r}). Raise r, list fewer spaces, or take router='z'."
        )

    def least_rank(self, in_features: int, out_features: int) -> int:
        """The smallest r by which every expert of such a module has a rank of 1."""
        num, unit = len(self.spaces), in_features + out_features
        beside = router_size(self.router, in_features, num, num) + self.num_curvatures
        return num + math.ceil(beside / unit)

    def expert_names(self) -> tuple[str, ...]:
        """Names for logs: the space, numbered where it repeats."""
        seen: dict[str, int] = {}
        names = []
        for space in self.spaces:
            seen[space] = seen.get(space, 0) + 1
            names.append(space if seen[space] == 1 else f"{space}.{seen[space]}")
        return tuple(names)


def router_size(router: str, in_features: int, rank: int, num_experts: int) -> int:
    """Parameters of a router, biases included."""
    if router == "mlp":
        return HIDDEN * (in_features + 1) + num_experts * (HIDDEN + 1)
    return num_experts * ((rank if router == "z" else in_features) + 1)
