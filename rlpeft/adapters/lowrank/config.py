"""Options shared by the geometric low-rank methods: LoRA's own, under LoRA's names."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peft.utils.other import get_pattern_key

from rlpeft.adapters.config import TargetedConfig, about
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapter import GeometricAdapter

FORMAT_VERSION = 1


@dataclass
class LowRankConfig(TargetedConfig):
    """Everything `LoraConfig` users know, plus the curvature's prior and bounds."""

    r: int = field(default=16, metadata=about(GeometricAdapter, "rank"))
    lora_alpha: float = field(default=32.0, metadata=about(GeometricAdapter, "alpha"))
    lora_dropout: float = field(
        default=0.0, metadata={"help": "Dropout of the adapter's input, before any norm is taken."}
    )
    use_rslora: bool = field(
        default=False, metadata={"help": "Scale by lora_alpha / sqrt(r) (arXiv 2312.03732)."}
    )
    rank_pattern: dict[str, int] = field(
        default_factory=dict, metadata={"help": "Module name or expression -> its own rank."}
    )
    alpha_pattern: dict[str, float] = field(
        default_factory=dict, metadata={"help": "Module name or expression -> its own lora_alpha."}
    )
    curvature_bounds: tuple[float, float] = field(
        default=(1e-3, 4.0), metadata=about(GeometricAdapter, "curvature_bounds")
    )
    curvature_reg: float = field(default=1e-3, metadata=about(GeometricAdapter, "curvature_reg"))
    format_version: int = field(
        default=FORMAT_VERSION, metadata={"help": "Version of the saved form; leave it alone."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.curvature_bounds = tuple(self.curvature_bounds)  # type: ignore[assignment]  # JSON
        self._check_numbers()
        if self.format_version != FORMAT_VERSION:
            raise ConfigError(
                f"format_version must be {FORMAT_VERSION}, got {self.format_version!r}: the "
                "adapter was saved by another version of rlpeft. Load it with that version."
            )

    def _check_numbers(self) -> None:
        for name, rank in {"r": self.r, **self.rank_pattern}.items():
            if not isinstance(rank, int) or rank < 1:
                raise ConfigError(
                    f"the rank {name!r} must be a whole number from 1 up, got {rank!r}."
                )
        for name, alpha in {"lora_alpha": self.lora_alpha, **self.alpha_pattern}.items():
            if not (math.isfinite(alpha) and alpha > 0):
                raise ConfigError(f"the alpha {name!r} must be positive, got {alpha!r}.")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout must be in [0, 1), got {self.lora_dropout!r}.")
        if not (math.isfinite(self.curvature_reg) and self.curvature_reg >= 0):
            raise ConfigError(f"curvature_reg must be at least 0, got {self.curvature_reg!r}.")
        low, high = self.curvature_bounds
        if not 0 < low < high <= 100:
            raise ConfigError(
                "curvature_bounds must be two numbers with 0 < low < high <= 100, got "
                f"{self.curvature_bounds!r}."
            )

    def check_start(self, name: str, magnitude: float) -> None:
        """Refuse a learned curvature that starts on or outside its bounds."""
        low, high = self.curvature_bounds
        if not low < magnitude < high:
            raise ConfigError(
                f"{name} must start with |kappa| strictly between {low} and {high} "
                f"(curvature_bounds) to be learned, got {magnitude!r}. Widen the bounds, move the "
                "start, or fix the curvature."
            )

    def rank_of(self, module_name: str) -> int:
        """The rank of one module: `rank_pattern`'s where it matches, else `r`."""
        return self.rank_pattern.get(get_pattern_key(list(self.rank_pattern), module_name), self.r)

    def scaling_of(self, module_name: str) -> float:
        """alpha / rank of one module (alpha / sqrt(rank) with rsLoRA)."""
        key = get_pattern_key(list(self.alpha_pattern), module_name)
        alpha, rank = self.alpha_pattern.get(key, self.lora_alpha), self.rank_of(module_name)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def start_logit(magnitude: float, bounds: tuple[float, float]) -> float:
    """The θ at which `magnitude_of(θ)` is `magnitude`."""
    low, high = bounds
    share = (magnitude - low) / (high - low)
    return math.log(share / (1 - share))
