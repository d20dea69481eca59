"""The `[environment]` section of a recipe; the string under each field is its documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rewards.environments.process import EnvironmentSpec
from rewards.environments.registry import ENVIRONMENTS, no_such_name
from rewards.registry import FROM_ENVIRONMENT
from rlpeft.recipe.adapter import Section

MOST_TURNS = 1000

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _known(name: str) -> str:
    if name not in ENVIRONMENTS and ":" not in name:
        raise ValueError(no_such_name(name))
    return name


class EnvironmentConfig(Section):
    """What answers the policy between its turns. Absent: a completion is one turn."""

    name: Annotated[str, AfterValidator(_known)]
    """`calculator`, `python`, `retry`, or a class of your own: `package.module:Class`."""
    options: dict[str, Any] = {}
    """Passed to the class."""
    max_turns: Annotated[int, Field(ge=1, le=MOST_TURNS)] = 4
    """Turns of the policy; the last is its answer. All of them, with what the environment says,
    have `rollout.max_tokens`."""
    max_turn_tokens: Annotated[int, Field(ge=1)] | None = None
    """New tokens of a turn; absent: what is left of `rollout.max_tokens`. A turn that is cut off
    ends the conversation."""
    role: Literal["user", "tool"] = "user"
    """Whose turn the chat template makes of what the environment says; of no meaning in plain
    text, where that stands as it is."""
    timeout_s: Seconds = 10.0
    """Seconds a call may take."""
    warmup_timeout_s: Seconds = 300.0
    """Seconds that importing its module may take, with what that loads."""
    memory_mb: Annotated[int, Field(ge=64)] | None = None
    """Address space of its process; absent: no limit."""

    @property
    def spec(self) -> EnvironmentSpec:
        """What its process is made of."""
        return EnvironmentSpec(
            self.name, self.options, self.timeout_s, self.warmup_timeout_s, self.memory_mb
        )


def require_environment(
    environment: EnvironmentConfig | None, rewards: list[str], max_lag: int
) -> None:
    """Refuse what an environment cannot have, and its reward without one.

    Raises:
        ValueError: says what to change.
    """
    if environment is None and FROM_ENVIRONMENT in rewards:
        raise ValueError(
            f"the reward {FROM_ENVIRONMENT!r} is that of an [environment], and the recipe has none."
        )
    if environment is not None and max_lag:
        raise ValueError(
            f"rollout.max_lag must be 0 with an [environment], got {max_lag}: all turns of a "
            "conversation are written by one version of the policy. Set it to 0."
        )
