"""What an expert is worth: it and its base model on the same problems, each proven before."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from jobs.cluster.parts import on_ray
from jobs.exams import Samples, asked_of, check_judged, identity, only_split
from rlpeft.build import Data, build_canary, read_data
from rlpeft.experts.files import ExpertCard, adapter_of, load_expert, read_card
from rlpeft.experts.hub import known_as
from rlpeft.experts.measures import Accuracy, difference_of
from rlpeft.experts.merged import base_of
from rlpeft.models.base import BaseModel
from rlpeft.program.examiner import Examiner, Measured, labels_of
from rlpeft.program.expert_of_run import said_of_runs
from rlpeft.program.origin import said_of_use
from rlpeft.program.parts import HERE, loaded_scorer
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.scoring import LoadedScores
from rlpeft.tasks.base import Split
from rlpeft.terminal import note_each


def evaluate_expert(
    folder: Path,
    recipe: Recipe,
    *,
    split: Split = "test",
    num: int | None = None,
    unseen: bool = False,
    address: str | None = None,
) -> dict[str, Any]:
    """Greedy accuracy, or mean score, of an expert and of its base model.

    Args:
        folder: the expert's.
        recipe: model, task, rewards and sampling; the adapter is the expert's own, and so are the
            stop strings if `rollout.stop` is not given.
        num: problems of the split; all if absent.
        unseen: ask those alone that the expert was not trained on.
        address: a Ray cluster; this process does it if absent.

    Raises:
        ExpertError: no expert there, or one for another base model.
        DataError: problems that may have been trained on.
    """
    base = base_of(folder, read_card(folder), recipe.model)
    expert = load_expert(folder, base_digest=base.digest)
    who = known_as(folder)
    notes = [
        *said_of_use({who: expert.card}, base, recipe.chat, recipe.environment),
        *said_of_runs([folder], [reward.name for reward in recipe.rewards]),
    ]
    recipe = _of_expert(recipe, expert.card)
    data = read_data(recipe, base, splits=(split,), only=only_split(recipe, [expert.card], split))
    check, samples = partial(_check, recipe, data), Samples(split=split, num=num, unseen=unseen)
    asked = asked_of(data.task, [folder], samples, path=task_of(recipe).path)
    venue = HERE if address is None else on_ray(address)
    with (
        loaded_scorer(recipe, venue, check=check) as scorer,
        venue.open(recipe, base, scorer) as parts,
    ):
        if scorer is None:
            check(parts.scorer)
        note_each([*notes, *asked.notes, *data.notes(parts.scorer.of(""))])
        canary, bound = build_canary(data.task, data.prompter, split), recipe.rollout.canary_bound
        sampling, labels = recipe.rollout.sampling, labels_of(recipe)
        examiner = Examiner(parts, data.prompter, sampling, canary, bound, labels)
        bare = examiner.measure(examiner.proof(), asked.problems)
        found = examiner.measure(examiner.load(expert), asked.problems)
    whose = {"expert": who} | identity(expert.card) | {"split": split}
    return whose | _of_exam(recipe, base) | _compared(found, bare)


def _check(recipe: Recipe, data: Data, scores: LoadedScores) -> None:
    check_judged(recipe, data, scores.of(""))


def _of_exam(recipe: Recipe, base: BaseModel) -> dict[str, Any]:
    """What an evaluation says of what was asked, and of whom beside the expert."""
    return {
        "base_digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "task": task_of(recipe).source,
        "stop": list(recipe.rollout.stop_strings),
    }


def _compared(expert: Measured, base: Measured) -> dict[str, Any]:
    """What an evaluation says of both, and of the difference."""
    kind = "accuracy" if isinstance(expert[0], Accuracy) else "score"
    against = difference_of(expert[1], base[1])
    return {
        f"base_{kind}": base[0].model_dump(),
        kind: expert[0].model_dump(),
        "against_base": against and against.model_dump(),
    }


def _of_expert(recipe: Recipe, card: ExpertCard) -> Recipe:
    """The recipe with the expert's adapter, and its stop strings where it gives none itself."""
    rollout = recipe.rollout
    if rollout.stop is None:
        rollout = rollout.model_copy(update={"stop": card.stop})
    return recipe.model_copy(update={"adapter": adapter_of(card), "rollout": rollout})
