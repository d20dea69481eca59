"""What it takes to build a rollout engine: all that engines see of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlpeft.recipe.adapter import AdapterConfig, Section
from rlpeft.recipe.rollout import RolloutConfig

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator in use takes: NumPy's old one has 32 bits."""


class ModelConfig(Section):
    """The base model, which is never changed."""

    name: str
    """A local folder, a Hub id, or `tiny`: the base model shipped with the package."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the base weights in the learner; adapters stay float32."""


class EngineSpec(Section):
    """One kind of engine: two that are built from equal specs give the same completions."""

    model: ModelConfig
    adapter: AdapterConfig
    """Its method and modules; the values come later, with each policy."""
    rollout: RolloutConfig = RolloutConfig()
    seed: Seed = 0
    """Decides how the adapter starts."""

    @property
    def dtype(self) -> str:
        """Of the weights in the engine."""
        return self.rollout.dtype or self.model.dtype
