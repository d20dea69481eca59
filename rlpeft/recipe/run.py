"""A recipe: everything that decides a run, as one frozen tree read from TOML or YAML.

The string under each field is its documentation, here, in `rlpeft recipe` and in editors. Bad
combinations die at construction, before any model is loaded.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from rlpeft.errors import ConfigError
from rlpeft.files import read_json, read_text, reason
from rlpeft.recipe import yaml
from rlpeft.recipe.adapter import AdapterConfig as AdapterConfig
from rlpeft.recipe.adapter import GeometricAdapter as GeometricAdapter
from rlpeft.recipe.adapter import HypLoraAdapter as HypLoraAdapter
from rlpeft.recipe.adapter import Ia3Adapter as Ia3Adapter
from rlpeft.recipe.adapter import LoraFamilyAdapter as LoraFamilyAdapter
from rlpeft.recipe.adapter import MoSLoraAdapter as MoSLoraAdapter
from rlpeft.recipe.adapter import Section as Section
from rlpeft.recipe.adapter import SvfAdapter as SvfAdapter
from rlpeft.recipe.environment import EnvironmentConfig as EnvironmentConfig
from rlpeft.recipe.environment import require_environment
from rlpeft.recipe.learner import LearnerConfig as LearnerConfig
from rlpeft.recipe.mistakes import MISSING, in_words
from rlpeft.recipe.mix import MixedTask, OneOrSeveral, require_mixable
from rlpeft.recipe.overrides import with_overrides as with_overrides
from rlpeft.recipe.reward import RewardConfig as RewardConfig
from rlpeft.recipe.reward import require_selectable
from rlpeft.recipe.rollout import EngineSpec as EngineSpec
from rlpeft.recipe.rollout import ModelConfig as ModelConfig
from rlpeft.recipe.rollout import RolloutConfig as RolloutConfig
from rlpeft.recipe.rollout import Seed as Seed
from rlpeft.recipe.rollout import StartConfig as StartConfig
from rlpeft.recipe.rollout import TrainingRollout as TrainingRollout
from rlpeft.recipe.task import OWN_ROWS
from rlpeft.recipe.task import ChatConfig as ChatConfig
from rlpeft.recipe.task import TaskConfig as TaskConfig
from rlpeft.recipe.templates import Template

AnySection = TypeVar("AnySection", bound=Section)

DEFAULT_REWARDS = (RewardConfig(),)


LONGEST_NAME = 100
"""Bytes of a name that becomes a folder's, or a part of one."""


class LossConfig(Section):
    """The objective (Transformer², eq. 2, and what the field adds to it)."""

    advantage: Literal["none", "batch_mean", "rloo", "group_norm"] = "rloo"
    """`none`: reward mapped to ±1 (paper). `rloo`: leave-one-out baseline over the group."""
    # Left out of what is written where nobody asked: runs of before do not name it.
    wrong: float = Field(default=-1.0, ge=-1, le=0, exclude_if=lambda wrong: wrong == -1)
    """What `advantage = "none"` makes of a reward of 0: -1 in Transformer², -0.1 in its runs on
    pictures, for stability. A baseline takes such a shift away, and refuses it."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.0
    """λ of the KL penalty to the reference."""
    reference: Literal["base", "start"] = "base"
    """What the KL is measured from. `base`: the base model (adapter disabled). `start`: the expert
    that `model.start` names, so that the KL of the first step is 0."""
    kl: Literal["full", "full_reverse", "k1", "k3"] = "k3"
    """`full`: KL(π‖base) over the vocabulary; `full_reverse`: KL(base‖π); `k1`, `k3`: sampled."""
    normalise: Literal["sequence", "token"] = "sequence"
    """`sequence`: token sum per completion, mean over completions (paper). `token`: token mean."""
    ratio_cap: Annotated[float, Field(ge=0)] = 2.0
    """Cap of the importance ratio trainer/engine per token; 0: no correction."""
    mask_truncated: bool = False
    """Leave truncated completions out of the loss instead of scoring them."""

    @model_validator(mode="after")
    def _shifts_what_stays(self) -> Self:
        if self.wrong != -1 and self.advantage != "none":
            raise ValueError(
                f"loss.wrong must be absent where loss.advantage = {self.advantage!r}, whose "
                f"baseline takes such a shift away, got {self.wrong!r}. Remove it, or set "
                "loss.advantage = 'none'."
            )
        return self

    @property
    def compares_groups(self) -> bool:
        """Whether an answer is compared with others to the same problem alone."""
        return self.advantage in ("rloo", "group_norm")


class TrainConfig(Section):
    """The loop."""

    steps: Annotated[int, Field(ge=1)] = 100
    """Optimizer steps."""
    prompts_per_step: Annotated[int, Field(ge=1)] = 32
    """Problems per step."""
    group_size: Annotated[int, Field(ge=1)] = 8
    """Completions per problem."""
    resample_budget: Annotated[int, Field(ge=0)] = 0
    """Extra problems a step may draw to replace groups whose rewards are all equal."""
    eval_every: Annotated[int, Field(ge=1)] = 10
    """Steps between validations."""
    select: str | None = None
    """Metric of a validation that chooses the best expert, the higher the better: `accuracy`,
    `score` (mean of the weighted sum), or `rewards/NAME` (mean of one reward). Absent: accuracy,
    and the mean score where no reward judges. Of several tasks each counts as much as it has
    validation problems: it is the mean over all of them."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Validations without improvement before stopping; absent: never stop early."""
    seed: Seed = 0
    """Decides problem order, sampling and initialisation."""
    error_limit: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of reward errors and timeouts in a step that stops the run."""
    unscorable_limit: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of unscorable completions in a step or a validation that stops the run."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Newest checkpoints kept, to continue from."""
    keep_bytes: Annotated[int, Field(ge=0)] = 1_000_000_000
    """Bytes that the adapters of all steps may take, in `steps`; the oldest are pruned. 0: none."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = ("tensorboard",)
    """Trackers beside the JSON lines; completions of validation steps and, but for TensorBoard,
    the report's charts go there, too."""

    @property
    def num_drawn(self) -> int:
        """Problems that all steps draw, but for those of the resample budget."""
        return self.steps * self.prompts_per_step


class SftConfig(Section):
    """Supervised training, `rlpeft sft`; optimizer, steps and batch are those of RL."""

    completion: str = "{answer}"
    """What the model shall write: columns of the row, and the gold answer, in braces."""
    micro_batch: Annotated[int, Field(ge=1)] = 8
    """Rows of one forward pass; divides train.prompts_per_step, and the gradient is the same."""

    @field_validator("completion")
    @classmethod
    def _names_columns(cls, text: str) -> str:
        Template.parse(text, "sft.completion")
        return text


class ResourceConfig(Section):
    """What the Ray actors ask for."""

    engine_cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs per engine actor; also its thread count."""
    engine_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs per engine actor; rollout.tensor_parallel of them where several share an engine."""
    learners: Annotated[int, Field(ge=1)] = 1
    """Ranks of the learner, which share each step's micro-batches; see learner.parallel."""
    learner_cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs of each learner rank; also its thread count."""
    learner_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs of each learner rank."""
    learner_timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    """How long learner ranks wait for one another in a step before one is named as stalled."""
    reward_workers: Annotated[int, Field(ge=0)] = 0
    """Reward actors, which score what has ended while the rest is being generated: a call of a
    reward sees a part of a step. 0 scores in the driver, a whole step at once."""
    reward_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs per reward actor, for rewards that load a model."""
    placement_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """How long to wait for the cluster before saying what was asked and what it has."""
    engine_timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    """How long one engine call may take before the engine is named as stalled."""


def _check_name(name: str) -> str:
    """A name that can be a folder's, in one place and nowhere else."""
    if not name.isprintable() or not name.strip() or name[0] == "." or set(name) & set("/\\"):
        raise ValueError(
            "name must be printable, begin with no dot and hold no slash: it names a folder, got "
            f"{name!r:.80}."
        )
    if (length := len(name.encode("utf-8", "replace"))) > LONGEST_NAME:
        raise ValueError(f"name must have at most {LONGEST_NAME} bytes, got {length}.")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


class Recipe(Section):
    """A run: a recipe of `rlpeft train` and `rlpeft sft`."""

    name: Name
    """Names the expert and the default run folder."""
    model: StartConfig
    task: OneOrSeveral
    chat: ChatConfig = ChatConfig()
    adapter: AdapterConfig = SvfAdapter()
    rollout: TrainingRollout = TrainingRollout()
    environment: EnvironmentConfig | None = None
    """What answers the policy between its turns; absent: a completion is one turn."""
    reward: tuple[RewardConfig, ...] | None = None
    """`math` alone if absent; rows of your own must name theirs. Each `[[task]]` has its own."""
    loss: LossConfig = LossConfig()
    learner: LearnerConfig = LearnerConfig()
    train: TrainConfig = TrainConfig()
    resources: ResourceConfig = ResourceConfig()
    sft: SftConfig | None = None
    """Read by `rlpeft sft` alone; its defaults if absent."""

    @property
    def engine(self) -> EngineSpec:
        """What its rollout engines are built from."""
        return EngineSpec(
            model=self.model.base, adapter=self.adapter, rollout=self.rollout, seed=self.train.seed
        )

    @property
    def rewards(self) -> tuple[RewardConfig, ...]:
        """What judges completions, those of one task after those of another."""
        if not isinstance(self.task, TaskConfig):
            return tuple(reward for own in self.alone.values() for reward in own.rewards)
        return DEFAULT_REWARDS if self.reward is None else self.reward

    @property
    def alone(self) -> dict[str, Recipe]:
        """By label, a recipe of each task alone: all that looks at one task is asked with these.

        A `[task]` that is the only one has no label: its recipe is this one.
        """
        if isinstance(self.task, TaskConfig):
            return {"": self}
        return {task.label: self._with_only(task) for task in self.task}

    @property
    def weights(self) -> dict[str, float]:
        """By label, the weight of each task among all that problems are drawn from."""
        if isinstance(self.task, TaskConfig):
            return {"": 1.0}
        return {task.label: task.weight for task in self.task}

    @property
    def limits(self) -> dict[str, int]:
        """By label, new tokens of an answer, of tasks that have fewer than rollout.max_tokens."""
        if isinstance(self.task, TaskConfig):
            return {}
        most = self.rollout.max_tokens
        limits = {task.label: task.max_tokens for task in self.task}
        return {label: limit for label, limit in limits.items() if limit and limit < most}

    def _with_only(self, task: MixedTask) -> Recipe:
        limit = self.rollout.max_tokens if task.max_tokens is None else task.max_tokens
        found: dict[str, Any] = {
            "name": f"{self.name}-{task.label}",
            "task": TaskConfig(**task.model_dump(include=set(TaskConfig.model_fields))),
            "reward": task.reward,
            "rollout": self.rollout.model_copy(update={"max_tokens": limit}),
        }
        if task.completion is not None:
            taught = {"completion": task.completion}
            found["sft"] = (self.sft or SftConfig()).model_copy(update=taught)
        return self.model_copy(update=found)

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.loss.compares_groups and self.train.group_size < 2:
            raise ValueError(
                f"train.group_size must be at least 2 for loss.advantage = "
                f"{self.loss.advantage!r}, got {self.train.group_size}. "
                "Raise it, or use loss.advantage = 'batch_mean'."
            )
        self.rollout.require_devices(self.resources.engine_cpus, self.resources.engine_gpus)
        self.rollout.require_fitting(self.loss.ratio_cap, self.train.resample_budget)
        self.model.require_able(self.rollout, self.learner.parallel)
        if self.learner.warmup_steps > self.train.steps:
            raise ValueError(
                f"learner.warmup_steps must be at most train.steps = {self.train.steps}, "
                f"got {self.learner.warmup_steps}."
            )
        if self.learner.parallel == "shard" and self.resources.learners == 1:
            raise ValueError(
                "learner.parallel = 'shard' needs several ranks, resources.learners is 1. Raise "
                "it, or leave learner.parallel out."
            )
        if self.resources.learners > 1 and 0 < self.resources.learner_gpus < 1:
            raise ValueError(
                "resources.learner_gpus must be 0 or 1 with several learners, got "
                f"{self.resources.learner_gpus:g}: NCCL takes one rank a GPU. Set it to 1, or "
                "resources.learners to 1."
            )
        if self.resources.reward_gpus and not self.resources.reward_workers:
            raise ValueError(
                "resources.reward_gpus are given to reward actors, and resources.reward_workers is "
                "0. Raise it; without actors, rewards see the GPUs of the driver."
            )
        if self.loss.reference == "start" and self.model.start is None:
            raise ValueError(
                "loss.reference = 'start' needs an expert to start from, and model.start names "
                "none. Name one, or use loss.reference = 'base'."
            )
        if not isinstance(self.task, TaskConfig):
            require_mixable(self.task, self.reward, self.rollout.max_tokens)
        for label, own in self.alone.items():
            require_reward(own.reward, task_of(own), label)
            if not any(reward.weight for reward in own.rewards):
                raise ValueError(
                    "one reward at least must have a weight other than 0, all have 0: every "
                    "completion would be worth the same."
                )
        rewards = [[reward.name for reward in own.rewards] for own in self.alone.values()]
        require_selectable(self.train.select, rewards)
        names = [reward.name for reward in self.rewards]
        require_environment(self.environment, names, self.rollout.max_lag)
        return self


def task_of(recipe: Recipe) -> TaskConfig:
    """The task of a recipe that has but one, such as each of `Recipe.alone`."""
    assert isinstance(recipe.task, TaskConfig), "a recipe of several tasks is asked by Recipe.alone"
    return recipe.task


def require_reward(given: Sequence[RewardConfig] | None, task: TaskConfig, label: str = "") -> None:
    """Refuse an empty list of rewards, and none where rows are the user's own.

    Args:
        label: of the task, where it is one of several.

    Raises:
        ValueError: says what to write.
    """
    called = f"reward of task {label!r}" if label else "reward"
    if given is not None and not given:
        raise ValueError(f"{called} must list at least one reward, got none.")
    if given is None and task.name in OWN_ROWS:
        raise ValueError(f"{called} must be given for rows of your own.{MISSING['reward']}")


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `section.key=value` overrides (values in TOML syntax).

    Args:
        path: a TOML or YAML file, or the `recipe.json` of a run.

    Raises:
        ConfigError: no such file, bad TOML or YAML, an unknown key or a value out of bounds.
    """
    return parse_recipe(read_tree(path, overrides), source=str(path))


def read_tree(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The plain tree of a recipe file with its overrides, not yet validated."""
    if not path.exists():
        raise ConfigError(f"recipe must be an existing TOML or YAML file, got {str(path)!r}.")
    if path.suffix == ".json":
        tree = read_json(path, ConfigError)
    elif path.suffix in yaml.ENDINGS:
        tree = yaml.read_yaml(path)
    else:
        text = read_text(path, ConfigError)
        try:
            tree = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"recipe {str(path)!r} must be TOML: {reason(error)}.") from error
    return with_overrides(tree, overrides)


def parse_recipe(tree: dict[str, Any], *, source: str) -> Recipe:
    """Validate a recipe given as a plain tree; `source` names it in errors."""
    return validated(Recipe, tree, source=source)


def validated(schema: type[AnySection], tree: dict[str, Any], *, source: str) -> AnySection:
    """A recipe of any kind from a plain tree; each mistake in it is told in words."""
    try:
        json.dumps(tree, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"recipe {source!r} must be plain values in Unicode, got {reason(error)}."
        ) from error
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(in_words(item, schema, tree) for item in error.errors())
        raise ConfigError(f"recipe {source!r}: {problems}") from error
