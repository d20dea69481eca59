"""What a recipe says of supervised runs, beside its sections."""

from __future__ import annotations

from math import gcd

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Recipe, SftConfig


def sft_config(recipe: Recipe) -> SftConfig:
    """The recipe's `[sft]`, or its defaults.

    Raises:
        ConfigError: its micro-batches do not make up a batch, or not an equal part of one for
            each rank of the learner.
    """
    found, batch = recipe.sft or SftConfig(), recipe.train.prompts_per_step
    if batch % found.micro_batch:
        raise ConfigError(
            f"sft.micro_batch must divide train.prompts_per_step = {batch}, got "
            f"{found.micro_batch}. Set one that does: --set sft.micro_batch="
            f"{gcd(batch, found.micro_batch)}"
        )
    if batch // found.micro_batch % (learners := recipe.resources.learners):
        raise ConfigError(
            f"sft.micro_batch must divide the part of each learner rank, "
            f"train.prompts_per_step / resources.learners = {batch} / {learners}, got "
            f"{found.micro_batch}."
        )
    return found
