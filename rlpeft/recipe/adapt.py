"""A recipe of `rlpeft adapt`: which experts to mix, by which examples, and how to search."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlpeft.once import require_once
from rlpeft.recipe.by_type import ByType
from rlpeft.recipe.run import (
    DEFAULT_REWARDS,
    AdapterConfig,
    ChatConfig,
    EngineSpec,
    ModelConfig,
    Name,
    ResourceConfig,
    RewardConfig,
    RolloutConfig,
    Section,
    Seed,
    TaskConfig,
    require_reward,
)
from rlpeft.recipe.search import ALGORITHMS, SearchConfig
from rlpeft.types import Sampling

LIGHT = ("shots.number=3", "search.iterations=10")
"""The paper's small budget (arXiv 2501.06252, Table 10), as overrides of a recipe."""


class ShotsConfig(Section):
    """The labelled examples that a search sees; nothing it is judged by is among them."""

    number: Annotated[int, Field(ge=2)] = 10
    """Shots drawn from the task; unread where `path` is given."""
    split: Literal["train", "validation"] = "train"
    """Where they are drawn from; mixtures are judged on the test split."""
    seed: Seed = 0
    """Decides which are drawn."""
    path: str | None = None
    """JSONL file of the shots themselves, a `prompt` and an `answer` a line."""


class AdaptRecipe(Section):
    """An adaptation: a recipe of `rlpeft adapt`."""

    name: Name
    """Names the mixed expert and the default run folder."""
    experts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Folders with experts, at any depth; the base model is always added to them."""
    model: ModelConfig
    task: TaskConfig
    chat: ChatConfig = ChatConfig()
    shots: ShotsConfig = ShotsConfig()
    search: Annotated[SearchConfig, ByType(ALGORITHMS, default="cem")] = Field(
        default={}, validate_default=True
    )
    rollout: RolloutConfig = RolloutConfig()
    reward: tuple[RewardConfig, ...] | None = None
    """`math` alone if absent; rows of your own must name theirs."""
    resources: ResourceConfig = ResourceConfig()
    """Read by the CEM service alone."""
    seed: Seed = 0
    """Decides every draw of the search."""

    @model_validator(mode="after")
    def _names_its_reward(self) -> Self:
        require_reward(self.reward, self.task)
        require_once("experts must name each folder", self.experts)
        self.rollout.require_devices(self.resources.engine_cpus, self.resources.engine_gpus)
        self.model.require_able(self.rollout)
        return self

    @property
    def rewards(self) -> tuple[RewardConfig, ...]:
        """What judges completions."""
        return DEFAULT_REWARDS if self.reward is None else self.reward

    @property
    def shot_sampling(self) -> Sampling:
        """How shots are answered: as mixtures will be judged, unless `search.samples` is given."""
        sampling = self.rollout.sampling
        return sampling if self.search.samples else sampling.greedy

    def engine(self, adapter: AdapterConfig) -> EngineSpec:
        """What the engines of its experts are built from.

        Args:
            adapter: of their mixtures (`rlpeft.experts.mixture.mixed_adapter`).
        """
        rollout = self.rollout.for_experts(self.search.population_size)
        return EngineSpec(model=self.model, adapter=adapter, rollout=rollout)
