"""The runs of a study: its arms, each arm's recipe, and where each run lies.

An arm is one place on every axis. A cell is an arm with a seed and what its tuned keys have; its
folder's name ends in a digest of its whole recipe, so that a study that was changed finds what is
still the same and runs what is not.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from jobs.recipes import ADAPT, find_recipe
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import Recipe, read_tree, validated, with_overrides
from rlpeft.recipe.study import SEEDS, StudyRecipe, names_command
from rlpeft.recipe.toml import toml_value

Setting = Mapping[str, Any]
"""Tuned key -> its value."""

MOST_RUNS = 10_000
"""Of one study: all are looked at before the first begins, and nobody has the time for more."""


@dataclass(frozen=True)
class StudyArm:
    """One place on every axis of a study."""

    place: Mapping[str, str]

    @property
    def name(self) -> str:
        """As tables have it.

        >>> StudyArm({"adapter": "svf", "kl": "0.1"}).name
        'svf, 0.1'
        """
        return ", ".join(self.place.values())

    def lies_in(self, place: Mapping[str, str]) -> bool:
        """Whether it is one of the arms of a part of the study."""
        return place.items() <= self.place.items()

    def moved(self, place: Mapping[str, str]) -> StudyArm:
        """The arm that differs from it in these axes."""
        return StudyArm({**self.place, **place})


@dataclass(frozen=True)
class StudyCell:
    """One run, by a command."""

    arm: StudyArm
    seed: int
    setting: Setting
    by: str
    recipe: Recipe | AdaptRecipe

    @property
    def id(self) -> str:
        """Names its folder."""
        parts = (*self.arm.place.values(), *map(str, self.setting.values()), f"seed{self.seed}")
        # One recipe is run by several commands: `train` is what goes without saying.
        told = ("" if self.by == "train" else self.by) + self.recipe.model_dump_json()
        digest = hashlib.sha256(told.encode()).hexdigest()
        # A tuned value may be a path; a folder's name has no place for it.
        name = "".join(
            sign if sign.isalnum() or sign in "._+=-" else "_" for sign in "-".join(parts)
        )
        return f"{name[:80].lstrip('.')}-{digest[:12]}"


def arms_of(study: StudyRecipe) -> list[StudyArm]:
    """Every combination of what lies on the axes, the last axis changing fastest."""
    return [
        StudyArm(dict(zip(study.axes, levels, strict=True)))
        for levels in product(*study.axes.values())
    ]


def settings_of(study: StudyRecipe, arm: StudyArm) -> list[Setting]:
    """Every combination of an arm's tuned keys; a single empty one where it has none."""
    tuned = _tuned(study, arm)
    return [dict(zip(tuned, values, strict=True)) for values in product(*tuned.values())]


def _tuned(study: StudyRecipe, arm: StudyArm) -> dict[str, Sequence[Any]]:
    return {tune.key: tune.values for tune in study.tune if arm.lies_in(tune.of)}


def require_few(study: StudyRecipe) -> None:
    """Refuse a study of more runs than anybody has the time for.

    Raises:
        ConfigError: says how many they are, and what makes them fewer.
    """
    arms, seeds = prod(map(len, study.axes.values())), len(study.seeds)
    runs = arms * seeds
    if runs <= MOST_RUNS:  # else the arms alone may be too many to be gone through
        runs += sum(
            prod(map(len, tuned.values()))
            for arm in arms_of(study)
            if (tuned := _tuned(study, arm))
        )
    if runs > MOST_RUNS:
        raise ConfigError(
            f"a study must have at most {MOST_RUNS:,} runs, {study.name!r} has {runs:,}, of "
            f"{arms:,} arms with {seeds:,} seeds each. Take fewer axes, less on each of them, "
            "fewer seeds or fewer values of [[tune]]."
        )


class Cells:
    """The cells of a study, all checked before the first of them runs.

    Raises:
        ConfigError: there is no such recipe, a change makes none, or they are too many.
    """

    def __init__(self, study: StudyRecipe) -> None:
        require_few(study)
        self._study = study
        folder = {"folder": ADAPT} if study.by == "adapt" else {}
        self._path = find_recipe(study.recipe, **folder)
        self._tree = read_tree(self._path)
        for arm in arms_of(study):
            for setting in settings_of(study, arm):
                for seed in study.seeds:
                    self.cell(arm, setting, seed)

    def cell(self, arm: StudyArm, setting: Setting, seed: int) -> StudyCell:
        """One of them."""
        changes = [
            *self._study.set,
            *(change for axis, level in arm.place.items() for change in self._of(axis, level)),
            *(f"{key}={toml_value(value)}" for key, value in setting.items()),
            *(f"{key}={seed}" for key in SEEDS[self._study.by]),
        ]
        tree = with_overrides(copy.deepcopy(self._tree), changes)
        tree["name"] = self._study.name
        schema: Any = AdaptRecipe if self._study.by == "adapt" else Recipe
        recipe = validated(schema, tree, source=f"{self._path.name} of {arm.name}")
        return StudyCell(arm, seed, setting, self._study.command_of(arm.place), recipe)

    def _of(self, axis: str, level: str) -> Sequence[str]:
        return [each for each in self._study.axes[axis][level] if not names_command(each)]


def pairs_of(study: StudyRecipe) -> Iterator[tuple[StudyArm, StudyArm | str]]:
    """What the contrasts compare: two arms, or an arm and what its runs test beside it."""
    for contrast in study.contrast:
        for arm in arms_of(study):
            if arm.lies_in(contrast.of):
                other = contrast.against
                yield arm, other if isinstance(other, str) else arm.moved(other)
