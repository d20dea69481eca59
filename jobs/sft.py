"""Train an expert by supervision: TRL's trainer in the place of the RL loop, all else the same.

One process; rollouts only validate and test.
"""

from __future__ import annotations

from pathlib import Path

from rlpeft.build import build_prompter, read_decks
from rlpeft.errors import ConfigError
from rlpeft.experts.merged import open_base
from rlpeft.models.load import require_embedded
from rlpeft.program.run import Summary
from rlpeft.program.run import run as run_training
from rlpeft.recipe.run import Recipe
from rlpeft.tasks.decks import problems_of
from rlpeft.training.loop import OnStep
from rlpeft.training.sft import teach, training_rows


def run(recipe: Recipe, out: Path, *, on_step: OnStep | None = None) -> Summary:
    """Train on the task's completions until the recipe's end, then test once.

    Args, returns and raises: see `rlpeft.program.run.run`; a row without its completion is a
    `DataError` before any model is loaded.
    """
    if recipe.environment is not None:
        raise ConfigError(
            f"a recipe of rlpeft sft must have no [environment], got {recipe.environment.name!r}: "
            "rows teach one answer, and no conversation. Take the section out, or use rlpeft train."
        )
    base = open_base(recipe.model)
    problems = problems_of(read_decks(recipe, base).decks, "train")
    prompter = build_prompter(base, recipe.chat, recipe.rollout)
    rows = training_rows(recipe, problems, prompter, context=base.context_length)
    for problem, row in zip(problems, rows, strict=True):
        where = f"the row of problem {problem.id!r}"
        require_embedded(row["input_ids"], base.num_embeddings, where=where)
    return run_training(recipe, out, on_step=on_step, loop=teach, method="sft")
