"""Experts on other bases, in order and shuffled (Transformer², arXiv 2501.06252, Tables 5 and 9).

    rlpeft compare transfer RECIPE --to BASE [--to BASE ...] [--seeds 8] [--shuffles 3]

With every seed the recipe trains an expert of its own base. Its z goes to each other base twice: as
it is, z_i to the i-th largest singular value there, and shuffled within each matrix. Both are
judged beside the other base alone and the expert that the recipe trains on it, on the same
problems. What comes of it is written as a study's: `rlpeft study show` reads it.

    OUT/BASE/seed0/                 the run of an expert, as `rlpeft train` leaves it
    OUT/BASE/seed0/expert-on-OTHER  its z on another base; -shuffled0 … beside it
    OUT/BASE/answers/               what experts answered on it, as `rlpeft evaluate` leaves it

A comparison that was cut off continues: runs from their newest checkpoints, answers by batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from jobs.evaluation.asked import open_survey
from jobs.evaluation.run import answered
from jobs.exams import Samples
from jobs.studies.cells import StudyArm
from jobs.studies.figures import StudyFigures, figures
from jobs.studies.results import OURS, ProblemKey, Result, values_of
from jobs.studies.study import Studied
from jobs.studies.written import write_figures
from rewards.verdict import VerdictKind
from rlpeft.adapter_state import module_of
from rlpeft.adapters.linear import base_weights
from rlpeft.adapters.svf.factors import factorise
from rlpeft.adapters.svf.method import decomposition_of
from rlpeft.analysis.alignment import alignment, by_chance
from rlpeft.errors import ConfigError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.crossed import crossed_mean
from rlpeft.experts.files import EXPERT_FOLDER, load_expert
from rlpeft.experts.transfer import require_transferable, suffix_of, transfer
from rlpeft.models.base import BaseModel
from rlpeft.program.folder import lone_run
from rlpeft.program.run import run
from rlpeft.recipe.run import Recipe, validated
from rlpeft.recipe.study import ContrastConfig, StudyRecipe
from rlpeft.runs.fingerprint import check_fingerprint

SHUFFLED, ORDERED, OWN = "shuffled", "ordered", "own"
"""Experts of a base: come in shuffled order, come as they were, trained on it."""

CONTRASTS = (
    ContrastConfig(of={"expert": ORDERED}, against="base"),
    ContrastConfig(of={"expert": ORDERED}, against={"expert": SHUFFLED}),
    ContrastConfig(of={"expert": OWN}, against={"expert": ORDERED}),
)


@dataclass(frozen=True)
class Answers:
    """What the policies of one base answered.

    Attributes:
        values: folder of an expert, or "base" -> problem -> what its answer is worth.
        judged: whether answers are right (1) or wrong (0); else values are scores.
        equal_base: folders of experts that no step has moved.
    """

    values: Mapping[str, Mapping[ProblemKey, float]]
    judged: bool
    equal_base: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it lies.

    Attributes:
        recipe: trains an expert of the base that it names.
        home: label of that base.
        others: label of each other base -> its name, as `model.name` has it.
        shuffles: permutations of each expert.
    """

    recipe: Recipe
    home: str
    others: Mapping[str, str]
    out: Path
    seeds: Sequence[int]
    shuffles: int

    def trained(self, label: str, seed: int) -> Path:
        """The expert that is trained on a base."""
        return self.out / label / f"seed{seed}" / EXPERT_FOLDER

    def moved(self, label: str, seed: int, shuffle: int | None) -> Path:
        """An expert that comes to a base as it is, or by the how many-th permutation."""
        control = "" if shuffle is None else f"-{SHUFFLED}{shuffle}"
        own = self.trained(self.home, seed)  # beside it, evaluations find what it was trained on
        return own.with_name(f"{own.name}-on-{label}{control}")

    def of_expert(self, label: str, seed: int, kind: str) -> list[Path]:
        """The experts that are one arm of a base with one seed."""
        if kind == OWN:
            return [self.trained(label, seed)]
        orders = range(self.shuffles) if kind == SHUFFLED else [None]
        return [self.moved(label, seed, order) for order in orders]


def compare_transfers(
    recipe: Recipe,
    others: Sequence[str],
    out: Path,
    *,
    seeds: Sequence[int],
    shuffles: int,
    tell: Callable[[str], None] = print,
) -> StudyFigures:
    """Train, transfer and judge; gives what `study.json` of the folder holds.

    Args:
        others: bases of the shape of the recipe's own, as `model.name` has them.
        seeds: of the runs; each expert has permutations of its own.
        tell: is told each stage as it begins.

    Raises:
        CheckpointError: the folder is of something else.
        ExpertError: the adapter's experts cannot be transferred, or not to one of the bases.
        RlpeftError, RewardError: recipe, data, model or reward cannot do it.
    """
    home = BaseModel.open(recipe.model.name)
    for name in others:
        require_transferable(recipe.adapter, home, BaseModel.open(name))
    own, *labels = labelled([recipe.model.name, *others])
    named = dict(zip(labels, others, strict=True))
    this = Comparison(recipe, own, named, out, seeds, shuffles)
    asked = {"trains": recipe.name, "seeds": [*seeds], "shuffles": shuffles}
    with lone_run(out):
        check_fingerprint(out, {"method": "compare transfer", **asked})
        bases = {own: recipe.model.name, **named}
        for label, name in bases.items():
            for seed in seeds:
                tell(f"{label}: training, seed {seed}")
                run(on_base(recipe, name, seed), this.trained(label, seed).parent)
        for label, name in named.items():
            move(this, label, name)
        found = {label: _answers(this, label, name, tell) for label, name in bases.items()}
    return _written(this, found)


def labelled(names: Sequence[str]) -> list[str]:
    """Bases as tables and folders have them: the last part of each name.

    >>> labelled(["tiny", "bases/tiny-seed1"])
    ['tiny', 'tiny_seed1']

    Raises:
        ConfigError: two are the same.
    """
    last = [Path(name).name for name in names]
    found = ["".join(s if s.isalnum() or s in "._+=" else "_" for s in name) for name in last]
    if len({*found}) < len(found):
        raise ConfigError(
            f"bases must end in different names, by which tables know them, got {', '.join(names)}."
            " Rename a folder, or give each base once."
        )
    return found


def on_base(recipe: Recipe, name: str, seed: int) -> Recipe:
    """The recipe of another base and seed."""
    tree = recipe.model_dump(mode="json")
    tree["model"]["name"], tree["train"]["seed"] = name, seed
    return validated(Recipe, tree, source=f"{recipe.name} on {name}, seed {seed}")


def move(this: Comparison, label: str, name: str) -> None:
    """Write every expert for another base: as it is, and by permutations of its own."""
    for at, seed in enumerate(this.seeds):
        own = this.trained(this.home, seed)
        transfer(own, name, this.moved(label, seed, None), shuffle_seed=None)
        for each in range(this.shuffles):
            number = at * this.shuffles + each
            transfer(own, name, this.moved(label, seed, each), shuffle_seed=number)


def _answers(this: Comparison, label: str, name: str, tell: Callable[[str], None]) -> Answers:
    """Have every expert of a base answer the recipe's test problems."""
    kinds = (OWN, ORDERED, SHUFFLED) if label in this.others else (OWN,)
    folders = [
        folder
        for seed in this.seeds
        for kind in kinds
        for folder in this.of_expert(label, seed, kind)
    ]
    tell(f"{label}: {len(folders)} experts answer")
    recipe, out = on_base(this.recipe, name, this.seeds[0]), this.out / label / "answers"
    with (
        open_survey(folders, [*recipe.alone.values()], Samples(), pins=out) as survey,
        answered(survey, out) as found,
    ):
        places = {BASE: BASE} | {who: str(at) for who, at in survey.folders.items()}
        rows = [{**row, "policy": places[row["expert"]]} for row in found]
        still = [places[who] for who, expert in survey.experts.items() if expert.card.equals_base]
    judged = all(row["verdict"] != VerdictKind.GRADED for row in rows)
    return Answers(values_of(rows, judged=judged), judged, frozenset(still))


def _written(this: Comparison, found: Mapping[str, Answers]) -> StudyFigures:
    study = _study(this)
    results = {
        StudyArm({"base": label, "expert": kind}).name: {
            seed: result_of(found[label], [*map(str, this.of_expert(label, seed, kind))])
            for seed in this.seeds
        }
        for label in this.others
        for kind in study.axes["expert"]
    }
    studied = Studied(study, results, {arm: {} for arm in results}, dict.fromkeys(results, ()))
    told = figures(studied) | {
        BASE: None,  # there are several
        "beside": dict(_beside(this, found)),
        "alignment": {label: _alignment(this, label) for label in this.others},
    }
    write_figures(told, this.out)
    return told


def _study(this: Comparison) -> StudyRecipe:
    return StudyRecipe(
        name=f"{this.recipe.name}-transfer",
        claim="An expert serves another base of its shape, by the order of its numbers.",
        source="Transformer², arXiv 2501.06252, Tables 5 and 9",
        recipe=this.recipe.name,
        axes={
            "base": dict.fromkeys(this.others, ()),
            "expert": dict.fromkeys((SHUFFLED, ORDERED, OWN), ()),
        },
        contrast=CONTRASTS,
        seeds=tuple(this.seeds),
    )


def result_of(found: Answers, experts: Sequence[str]) -> Result:
    """Of one seed; where several permutations are its arm, each problem has their mean."""
    every = [found.values[expert] for expert in experts]
    shared = [key for key in every[0] if all(key in values for values in every)]
    own = {key: fmean(values[key] for values in every) for key in shared}
    return Result(
        values={OURS["train"]: own, BASE: found.values[BASE]},
        judged=found.judged,
        equals_base=all(expert in found.equal_base for expert in experts),
    )


def _beside(this: Comparison, found: Mapping[str, Answers]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each base alone, and the experts on the base that they were trained on."""
    for label, answers in found.items():
        policies = {f"{label} alone": [BASE]}
        if label == this.home:
            own = [str(this.trained(label, seed)) for seed in this.seeds]
            policies[f"{label}, its experts"] = own
        for name, experts in policies.items():
            values_SP = [[*answers.values[expert].values()] for expert in experts]
            yield name, crossed_mean(values_SP, judged=answers.judged).model_dump()


def _alignment(this: Comparison, label: str) -> dict[str, float]:
    """How far singular vectors agree, the mean over the matrices that experts move."""
    expert = load_expert(this.trained(this.home, this.seeds[0]))
    modules = [module_of(name, suffix_of(expert)) for name in expert.tensors]
    how, dtype = decomposition_of(expert.config), this.recipe.model.dtype
    ours, theirs = (
        {name: factorise(weight_MN, how).basis for name, weight_MN in weights}
        for base in (this.recipe.model.name, this.others[label])
        for weights in [base_weights(BaseModel.open(base), modules, dtype)]
    )
    return {
        "found": fmean(alignment(ours[name], theirs[name]) for name in modules),
        "chance": fmean(by_chance(len(ours[name])) for name in modules),
    }
