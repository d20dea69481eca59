"""A recipe of `rlpeft adapt`: which experts to mix, by which examples, and how to search."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rlpeft.recipe.run import (
    ChatConfig,
    ModelConfig,
    Name,
    Recipe,
    ResourceConfig,
    RewardConfig,
    RolloutConfig,
    Section,
    Seed,
    TaskConfig,
    parse_recipe,
    require_reward,
)

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


class _Search(Section):
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


class CemSearch(_Search):
    """The cross-entropy method with a diagonal Gaussian (the paper's)."""

    type: Literal["cem"] = "cem"
    """Names the method."""
    elite_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the population that makes the next mean and std."""
    std_floor: Annotated[float, Field(gt=0)] = 1e-3
    """The std never falls below it."""
    unbiased_std: bool = False
    """Divide by one less than the number of elites."""


class CmaSearch(_Search):
    """CMA-ES, a full covariance."""

    type: Literal["cma"] = "cma"
    """Names the method."""
    std_floor: Annotated[float, Field(gt=0)] = 1e-3
    """The std never falls below it."""


class RandomSearch(_Search):
    """The control: uniform within the bounds, no learning."""

    type: Literal["random"] = "random"
    """Names the method."""


SearchConfig = Annotated[CemSearch | CmaSearch | RandomSearch, Field(discriminator="type")]


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
    search: SearchConfig = CemSearch()
    rollout: RolloutConfig = RolloutConfig()
    reward: tuple[RewardConfig, ...] = (RewardConfig(),)
    resources: ResourceConfig = ResourceConfig()
    """Read by the CEM service alone."""
    seed: Seed = 0
    """Decides every draw of the search."""

    @field_validator("search", mode="before")
    @classmethod
    def _cem_unless_named(cls, section: Any) -> Any:
        return {"type": "cem"} | section if isinstance(section, dict) else section

    @model_validator(mode="after")
    def _names_its_reward(self) -> Self:
        require_reward(self, self.task)
        return self

    def engine_recipe(self, adapter: dict[str, Any]) -> Recipe:
        """The recipe that builds the engine, scorer and prompter of these experts.

        Args:
            adapter: `[adapter]` section of the experts, which an `ExpertSet` mixes as `direct`.
        """
        rollout = self.rollout.model_dump(mode="json")
        if self.rollout.engine == "vllm":
            rollout["options"] = {"max_experts": self.search.population_size} | rollout["options"]
        tree = {
            "name": self.name,
            "adapter": adapter | {"parametrisation": "direct"},
            "rollout": rollout,
            **{
                section: self.model_dump(mode="json")[section]
                for section in ("model", "task", "chat", "reward", "resources")
            },
        }
        return parse_recipe(tree, source=self.name)
