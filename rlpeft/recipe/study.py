"""A study: one claim, measured by many runs of one recipe that differ where the claim says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rlpeft.recipe.adapter import Section
from rlpeft.recipe.overrides import with_overrides
from rlpeft.recipe.run import Name
from rlpeft.suggest import did_you_mean

SEEDS = {"train": ("train.seed",), "sft": ("train.seed",), "adapt": ("seed", "shots.seed")}
"""What a seed of a study sets, by the command that runs it."""


def _names_a_folder(name: str) -> str:
    """A name of letters, digits and a few signs: it becomes a part of a folder's."""
    if not name or not all(letter.isalnum() or letter in "._+=" for letter in name):
        raise ValueError(
            f"names of axes and of what lies on them must be of letters, digits and . _ + =, got "
            f"{name!r}: they name folders."
        )
    return name


Label = Annotated[str, AfterValidator(_names_a_folder)]
SetChange = str
"""As one types it behind `--set`: `section.key=value`."""
Place = dict[Label, Label]
"""Some arms: axis -> what must lie on it; every arm if empty."""


def keys_set(change: SetChange) -> frozenset[str]:
    """What a change sets, key by key.

    >>> sorted(keys_set("train={ seed = 3, steps = 2 }"))
    ['train.seed', 'train.steps']

    Raises:
        ConfigError: see `rlpeft.recipe.overrides.with_overrides`.
    """
    return frozenset(_leaves(with_overrides({}, [change])))


def _leaves(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


BY = "by"
"""The one change of an axis that is of no recipe."""


def names_command(change: SetChange) -> bool:
    """Whether a change of an axis is of the command, and not of its recipe."""
    return keys_set(change) == {BY}


class TuneConfig(Section):
    """A key that is chosen anew for each arm, by validation on the first seed alone."""

    key: str
    """`section.key`, such as `learner.lr`."""
    values: Annotated[tuple[bool | int | float | str, ...], Field(min_length=2)]
    """What it is chosen from; of equals the first."""
    of: Place = {}
    """Arms that have it: `{ adapter = "lora" }`. Absent: all."""


Policy = Literal["base", "start", "uniform", "parent"]
"""What runs test beside their expert."""


def _known_policy(against: Any) -> Any:
    known = get_args(Policy)
    if isinstance(against, str) and against not in known:
        raise ValueError(
            f"against must be one of {', '.join(map(repr, known))}, or another place such as "
            f"{{ adapter = 'lora' }}, got {against!r}.{did_you_mean(against, known)}"
        )
    return against


class ContrastConfig(Section):
    """A difference that the claim is about: of pairs of arms that differ in these axes alone."""

    of: Annotated[Place, Field(min_length=1)]
    """Arms that the claim holds for: `{ adapter = "svf" }`."""
    against: Annotated[Place | Policy, BeforeValidator(_known_policy)]
    """What they are compared with: `{ adapter = "lora" }` on the same axes, or what each run tests
    beside its expert: `"base"`, `"start"` (model.start); of adapt `"uniform"` (equal parts) and
    `"parent"`, the expert that does best on the test, which nobody knows before."""


class StudyRecipe(Section):
    """A study of `rlpeft study run`."""

    name: Name
    """Names the default folder."""
    claim: str
    """The sentence that is measured."""
    source: str = ""
    """Where it is claimed: paper and table."""
    recipe: str
    """What every run begins with: a file, or the name of a packaged recipe."""
    by: Literal["train", "sft", "adapt"] = "train"
    """The command that runs it. An axis may change `train` to `sft`, or back: `["by=sft"]`."""
    set: tuple[SetChange, ...] = ()
    """Changes of every run, as behind `--set`."""
    axes: Annotated[dict[Label, dict[Label, tuple[SetChange, ...]]], Field(min_length=1)]
    """Axis -> what lies on it, with its changes: `adapter.lora = ["adapter={ type = 'lora' }"]`.
    Every combination is an arm."""
    tune: tuple[TuneConfig, ...] = ()
    """Keys that are tuned for each arm on its own."""
    contrast: tuple[ContrastConfig, ...] = ()
    """What is compared; intervals hold for all of them together."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2)
    """Of the runs of each arm; one tells nothing of how runs differ by chance."""

    @model_validator(mode="after")
    def _says_what_it_means(self) -> Self:
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}.")
        for axis, levels in self.axes.items():
            if not levels:
                raise ValueError(f"axes.{axis} must hold something, it is empty.")
        if self.tune and self.by == "adapt":
            raise ValueError("tune needs validations, of which a search by shots has none.")
        for tune in self.tune:
            self._require(tune.of)
            if len({repr(value) for value in tune.values}) < len(tune.values):
                raise ValueError(f"values of tune.{tune.key} must differ, got {[*tune.values]}.")
        self._require_commands()
        self._require_seeds_alone()
        self._require_set_once()
        for contrast in self.contrast:
            self._require(contrast.of)
            if isinstance(contrast.against, str):
                self._require_tested(contrast.against)
                continue
            self._require(contrast.against)
            if contrast.of.keys() != contrast.against.keys() or contrast.of == contrast.against:
                raise ValueError(
                    "a contrast must be of two places on the same axes, got "
                    f"{contrast.of} against {contrast.against}."
                )
        return self

    def command_of(self, place: Mapping[str, str]) -> str:
        """What runs the arms of a place: the study's command, or what lies on one of its axes.

        >>> axes = {"by": {"rl": (), "gold": ("by=sft",)}}
        >>> study = StudyRecipe(name="s", claim="RL is better.", recipe="quickstart", axes=axes)
        >>> study.command_of({"by": "rl"}), study.command_of({"by": "gold"})
        ('train', 'sft')
        """
        changes = (change for axis, level in place.items() for change in self.axes[axis][level])
        found = [change for change in changes if names_command(change)]
        return str(with_overrides({}, found)[BY]) if found else self.by

    def _require_commands(self) -> None:
        """Only two commands take one recipe, and what lies on an axis alone may name them."""
        outside = [*filter(names_command, self.set), *(t.key for t in self.tune if t.key == BY)]
        if outside:
            raise ValueError("the command of all runs must be said once, by = … of the study.")
        for axis, levels in self.axes.items():
            for level, changes in levels.items():
                here = any(map(names_command, changes))
                named = self.command_of({axis: level})
                if here and not {named, self.by} <= {"train", "sft"}:
                    raise ValueError(
                        f"axes.{axis}.{level} must have by=train or by=sft, in a study by one of "
                        f"them, got by={named} in one by {self.by!r}."
                    )

    def _changes(self) -> Iterator[tuple[str, Place, frozenset[str]]]:
        """What is changed in some arms: where the study says so, in which, and the keys."""
        for axis, levels in self.axes.items():
            for level, changes in levels.items():
                keys = frozenset[str]().union(*map(keys_set, changes))
                yield f"axes.{axis}.{level}", {axis: level}, keys
        for tune in self.tune:
            yield f"tune of {tune.key}", tune.of, frozenset({tune.key})

    def _require_seeds_alone(self) -> None:
        """The study sets its name and its seeds itself, after all else."""
        own = {"name", *SEEDS[self.by]}
        everywhere = frozenset[str]().union(*map(keys_set, self.set))
        for where, _, keys in (("set", {}, everywhere), *self._changes()):
            if taken := sorted(keys & own):
                raise ValueError(
                    f"{where} must leave {taken[0]} to the study, which gives its name and each "
                    "of its seeds to every arm. Remove it there; which seeds is said by seeds = "
                    "[0, 1, 2]."
                )

    def _require_set_once(self) -> None:
        """One of two changes of a key in one arm would be without effect, silently."""
        for (one, place, keys), (other, there, others) in combinations(self._changes(), 2):
            # Of two levels of an axis no arm has both.
            are_apart = any(place[axis] != there[axis] for axis in place.keys() & there.keys())
            if not are_apart and (both := sorted(keys & others)):
                raise ValueError(
                    f"{both[0]} must be set once in each arm, got it in {one} and in {other}. "
                    "Remove one of them, or keep them to other arms (of = { … })."
                )

    def _require_tested(self, policy: str) -> None:
        of_a_search = policy in ("uniform", "parent")
        if of_a_search != (self.by == "adapt") and policy != "base":
            needed = "'adapt'" if of_a_search else "'train' or 'sft'"
            raise ValueError(
                f"contrast against {policy!r} needs a study of by = {needed}, whose runs test it, "
                f"this one is of by = {self.by!r}. Set by, or compare with 'base'."
            )

    def _require(self, place: Place) -> None:
        for axis, level in place.items():
            if axis not in self.axes:
                raise ValueError(
                    f"{axis!r} must be one of the axes {', '.join(self.axes)}."
                    f"{did_you_mean(axis, [*self.axes])}"
                )
            if level not in self.axes[axis]:
                known = [*self.axes[axis]]
                raise ValueError(
                    f"{level!r} must lie on axis {axis!r}, which has {', '.join(known)}."
                    f"{did_you_mean(level, known)}"
                )
