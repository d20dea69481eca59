"""Options of HypLoRA as a PEFT method."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peft.utils import PeftType

from rlpeft.adapters.config import about
from rlpeft.adapters.lowrank.config import LowRankConfig
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import HypLoraAdapter

VARIANTS = ("rotation", "boost")
NORM_MODES = ("scale", "unit", "none")
LARGEST_RADIUS = 8.0
"""Of `max_radius` r: the gain of a small update reaches sinh(r) / r, which is 186 here."""


@dataclass
class HypLoraConfig(LowRankConfig):
    """Configuration of HypLoRA (arXiv 2410.04010): log₀(B A exp₀(x)) in the Lorentz model.

    >>> HypLoraConfig(target_modules=["q_proj"]).variant
    'rotation'
    """

    variant: str = field(
        default="rotation",
        metadata=about(HypLoraAdapter, "variant"),
    )
    curvature: float = field(
        default=-1.0,
        metadata=about(HypLoraAdapter, "curvature"),
    )
    learn_curvature: bool = field(default=True, metadata=about(HypLoraAdapter, "learn_curvature"))
    norm_mode: str = field(
        default="scale",
        metadata=about(HypLoraAdapter, "norm_mode"),
    )
    restore_scale: bool = field(
        default=True,
        metadata={
            "help": "Undo the normalisation after log₀, so that curvature -> 0 is LoRA with the "
            "same alpha. The public code does not, which is why its alphas are large."
        },
    )
    max_radius: float | None = field(
        default=4.0,
        metadata={
            "help": "Bends sqrt(-kappa) ‖x̃‖ below this: the gain grows like sinh, and one outlier "
            "token of norm 85 would get a gradient of 1e34. Absent: the exact map (rotation only)."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType.HYPLORA
        for name, value, known in (
            ("variant", self.variant, VARIANTS),
            ("norm_mode", self.norm_mode, NORM_MODES),
        ):
            if value not in known:
                raise ConfigError(f"{name} must be one of {known}, got {value!r}.")
        if not (math.isfinite(self.curvature) and -100 <= self.curvature <= 0):
            raise ConfigError(
                f"curvature must be between -100 and 0 (kappa = -1/R²), got {self.curvature!r}."
            )
        if self.learn_curvature:
            self.check_start("curvature", -self.curvature)
        if self.max_radius is None and self.variant == "boost":
            raise ConfigError("max_radius must be given for variant 'boost'. Leave it at 4.0.")
        if self.max_radius is not None and not 0 < self.max_radius <= LARGEST_RADIUS:
            raise ConfigError(
                f"max_radius must be in (0, {LARGEST_RADIUS}] or absent, got {self.max_radius!r}."
            )
