"""Adapt to a task that no expert was trained for: search a mixture on a few shots, then judge it.

All that a search leaves lies in one folder; started again on it, it continues with the next
iteration, and asks for no answer that it has already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.library import keep_of_base
from rlpeft.adapters.methods import mixed_section
from rlpeft.build import build_engine, read_data
from rlpeft.evaluate import evaluate
from rlpeft.experts.files import EXPERT_FOLDER, read_card
from rlpeft.experts.hub import on_hub
from rlpeft.experts.measures import Measure, PairedDifference, difference_of
from rlpeft.experts.merged import open_base
from rlpeft.experts.mixture import ExpertSet, check_mixable, mixed_adapter, read_factors
from rlpeft.files import read_json, write_csv, write_json
from rlpeft.models.base import BaseModel
from rlpeft.once import require_once
from rlpeft.program.expert_of_run import said_of_runs
from rlpeft.program.folder import lone_run, say_continuing, start_or_continue
from rlpeft.program.hub import expert_folder, experts_below, pinned_experts
from rlpeft.program.origin import said_of_prompts
from rlpeft.program.rows_of_run import (
    keep_trained_on,
    refuse_trained_on,
    said_of_shots,
    said_of_unseen,
)
from rlpeft.program.rows_of_run import unseen as unseen_problems
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.engines import ENGINES
from rlpeft.recipe.reward import correct_from
from rlpeft.recipe.run import EngineSpec
from rlpeft.recipe.scorer import build_scorer
from rlpeft.recipe.set_up import search_set_up
from rlpeft.report.search_chart import draw_history
from rlpeft.rollout.fleet import ExpertFleet, LocalFleet
from rlpeft.runs.fingerprint import REWARD_CODE, SUMMARY_FILE, TOKENIZER
from rlpeft.runs.records import RECIPE_FILE, write_test
from rlpeft.runs.reward_code import reward_code
from rlpeft.runs.versions import library_versions
from rlpeft.scoring import Scores
from rlpeft.search.few_shot import Adaptation, Found, OnIteration, adapt, total_iterations
from rlpeft.search.fitness import Grader
from rlpeft.search.journal import Journal
from rlpeft.search.shots import load_shots
from rlpeft.tasks.base import Task
from rlpeft.tasks.golds import require_golds
from rlpeft.terminal import note_each
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem

EVALUATIONS_FILE, HISTORY_FILE, CHART_FILE = "evaluations.jsonl", "history.csv", "history.svg"
MIXED, UNIFORM = "mixed", "uniform"
"""Names of two mixtures beside the experts' own: the one found, and equal parts of each."""

_LOADING = threading.Lock()
"""transformers loads one model at a time: searches of one process must not load two at once."""

OpenFleet = Callable[[EngineSpec], AbstractContextManager[ExpertFleet]]
SearchSummary = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What a recipe of `rlpeft adapt` names, read and checked.

    Attributes:
        notes: what is to be told once the search goes on.
    """

    recipe: AdaptRecipe
    base: BaseModel
    spec: EngineSpec
    experts: ExpertSet
    folders: Sequence[Path]
    task: Task
    shots: Sequence[Any]
    tested: Sequence[Problem]
    prompter: Prompter
    unseen: bool = False
    notes: Sequence[str] = ()

    def fingerprint(self) -> dict[str, Any]:
        """What must not change under a search."""
        digests = [card.digest for card in self.experts.cards]
        code = reward_code(reward.name for reward in self.recipe.rewards)
        return {
            **({REWARD_CODE: code} if code else {}),
            "method": "adapt",
            "recipe": search_set_up(self.recipe),
            "experts": dict(zip(self.experts.names[1:], digests, strict=True)),
            "base_model": self.experts.cards[0].base_digest,
            TOKENIZER: self.base.tokenizer_parts,
            "data": self.task.fingerprint(),
            "shots": [[shot.id, str(shot.prompt), shot.answer] for shot in self.shots],
            **({"unseen": True} if self.unseen else {}),  # as in searches from before it was
        }


def read_inputs(recipe: AdaptRecipe, *, unseen: bool = False) -> Inputs:
    """Read experts and task, and find what would stop the search later.

    Args:
        unseen: judge by those test problems alone that no expert was trained on.

    Raises:
        RlpeftError: experts that cannot be mixed, or data that cannot be used.
        RewardError: a reward cannot be used.
    """
    base = open_base(recipe.model)
    folders = expert_folders(recipe, base.digest)
    for card in (found := [read_card(folder) for folder in folders]):
        check_mixable(card)
    spec = recipe.engine(mixed_adapter(found[0]))
    factors: Mapping[str, str] | None = None
    as_mixed = all(mixed_section(card.adapter) == card.adapter for card in found)
    if ENGINES[recipe.rollout.engine].needs_factors or not as_mixed:
        with _LOADING:
            factors = read_factors(folders[0], base, recipe.model.dtype)
    experts = ExpertSet.read(folders, base_digest=base.digest, factors=factors)
    cards = dict(zip(experts.names[1:], experts.cards, strict=True))
    notes = said_of_prompts(cards, base, recipe.chat)
    notes += said_of_runs(folders, [reward.name for reward in recipe.rewards])
    data = read_data(recipe, base, splits=(recipe.shots.split, "test"))
    tested = every = data.task.split("test")
    if unseen:
        tested = unseen_problems(folders, every, "test")
        notes += said_of_unseen(data.task.called, every, tested, "test")
    path = recipe.task.path
    notes += refuse_trained_on(folders, data.task, "test", tested, path=path, ways=["unseen"])
    with closing(build_scorer(recipe.rewards)) as scorer:
        data.check(scorer)
        notes += data.notes(scorer)
        shots = load_shots(recipe, data.task)
        if recipe.shots.path:  # rows of a file of their own
            rules, columns = scorer.gold_rules, scorer.required_columns
            source = recipe.shots.path
            require_golds(shots, rules, columns, source=source, split="shot", counted_from=1)
            for shot in shots:
                data.prompter.ids(shot)
    notes += said_of_shots(folders, shots)
    read = recipe, base, spec, experts, folders, data.task, shots, tested, data.prompter
    return Inputs(*read, unseen, notes)


def expert_folders(recipe: AdaptRecipe, base_digest: str) -> list[Path]:
    """Every expert that the recipe names, and those of its base below the folders it names.

    Raises:
        ExpertError: a folder without any.
        ConfigError: folders that hold the same expert.
    """
    found: list[Path] = []
    for root in recipe.experts:
        place = expert_folder(str(Path(root).expanduser()))
        below = experts_below(place, option="experts")
        # An expert that is named itself and is of another base is a mistake, and told as one.
        is_named = below == [place]
        found += below if is_named else keep_of_base(below, base_digest)
    require_once("experts must name each expert", found, [folder.resolve() for folder in found])
    return found


def run(
    recipe: AdaptRecipe,
    out: Path,
    *,
    open_fleet: OpenFleet | None = None,
    parallel: int = 1,
    on_iteration: OnIteration | None = None,
    unseen: bool = False,
) -> SearchSummary:
    """Search until the recipe's end, write the mixture, and judge it once on the test split.

    Args:
        out: the search's folder; an unfinished search in it is continued.
        open_fleet: makes the engines that answer; one in this process if absent.
        parallel, on_iteration: batches asked for at once; what is told after each iteration.
        unseen: judge by those test problems alone that no expert was trained on.

    Returns:
        What `summary.json` of the folder holds.

    Raises:
        RlpeftError: recipe, experts or data cannot do it, or the folder holds another search.
    """
    recipe = pinned_experts(recipe, out / RECIPE_FILE)
    inputs = read_inputs(recipe, unseen=unseen)
    with lone_run(out):
        start_or_continue(out, inputs.fingerprint())
        if (out / SUMMARY_FILE).is_file():
            mend = "Delete it: the mixtures are then judged again."
            kept = read_json(out / SUMMARY_FILE, mend=mend)
            return kept | {"expert": str(out / EXPERT_FOLDER)}  # it may be a copy by now
        _begin(inputs, out)
        with (
            closing(build_scorer(recipe.rewards)) as scorer,
            _here(inputs) if open_fleet is None else open_fleet(inputs.spec) as fleet,
        ):
            grader = _grader(inputs, fleet, scorer, out, parallel)
            this = Adaptation(recipe, out, inputs.experts, inputs.shots, grader)
            found = adapt(this, on_iteration or (lambda *_: None))
            measures, against = judge(inputs, found, fleet, scorer, out)
        _write_history(found.history, out)
        return _write(inputs, found, measures, against, out)


def _grader(inputs: Inputs, fleet: ExpertFleet, scorer: Scores, out: Path, parallel: int) -> Grader:
    recipe = inputs.recipe
    return Grader(
        fleet=fleet,
        scorer=scorer,
        prompter=inputs.prompter,
        sampling=recipe.shot_sampling,
        seed=recipe.seed,
        journal=Journal(out / EVALUATIONS_FILE),
        samples=recipe.search.samples or 1,
        parallel=parallel,
    )


def _begin(inputs: Inputs, out: Path) -> None:
    """Keep what the search is of, and say what is to be told of one that goes on."""
    note_each(inputs.notes)
    say_continuing(out, total_iterations(inputs.recipe), unit="iteration")
    keep_trained_on(out, inputs.shots, before=inputs.folders)
    write_json(out / RECIPE_FILE, inputs.recipe.model_dump(mode="json"))


def _here(inputs: Inputs) -> AbstractContextManager[ExpertFleet]:
    return closing(LocalFleet(build_engine(inputs.spec, inputs.base)))


def judge(
    inputs: Inputs, found: Found, fleet: ExpertFleet, scorer: Scores, out: Path
) -> tuple[dict[str, Measure], PairedDifference | None]:
    """Measure the base, each expert, their uniform mixture and the one found on the test split.

    All of their answers go into `test.parquet` of the search's folder.

    Returns:
        What each is worth, and the one found less the base, paired by problem.
    """
    experts = inputs.experts
    states = {name: experts.state(name) for name in experts.names}
    states[UNIFORM] = experts.mix([0.0] + [1.0] * (len(experts) - 1), normalise=True)
    states[MIXED] = experts.mix(found.coefficients, normalise=found.arm.normalise)
    fleet.load_experts(states)
    measures, answers = {}, {}
    for name in states:
        measures[name], answers[name] = evaluate(
            inputs.tested,
            fleet,
            scorer,
            prompter=inputs.prompter,
            sampling=inputs.recipe.rollout.sampling.greedy,
            expert=name,
        )
    write_test(out, answers)
    return measures, difference_of(answers[MIXED], answers[experts.names[0]])


def _write(
    inputs: Inputs,
    found: Found,
    measures: Mapping[str, Measure],
    against: PairedDifference | None,
    out: Path,
) -> SearchSummary:
    recipe, experts = inputs.recipe, inputs.experts
    mixed = experts.mix(found.coefficients, normalise=found.arm.normalise)
    equals_base = mixed.digest == experts.state(experts.names[0]).digest
    search = {
        "config": recipe.search.model_dump(mode="json"),
        "shots": [shot.id for shot in inputs.shots],
        "arm": str(found.arm),
        "fitness": found.fitness.as_dict(),
        "cross_validation": {arm: f.as_dict() for arm, f in found.validated.items()},
        "history": found.history,
        **({"tied": True} if found.tied else {}),
    }
    card = {
        **_of_recipe(inputs),
        "test": measures[MIXED],
        "base_test": measures[experts.names[0]],
        "against_base": against,
        "equals_base": equals_base,
    }
    written = experts.save(
        out / EXPERT_FOLDER,
        found.coefficients,
        normalise=found.arm.normalise,
        card=card,
        search=search | _of_the_hub(recipe),
    )
    means = found.coefficients.reshape(len(experts), -1).mean(1).tolist()
    summary = {
        "name": recipe.name,
        "expert": str(out / EXPERT_FOLDER),
        "digest": written.digest,
        "equals_base": equals_base,
        "arm": str(found.arm),
        "coefficients": dict(zip(experts.names, means, strict=True)),
        "shares": experts.shares(found.coefficients, normalise=found.arm.normalise),
        "shots": {"number": len(inputs.shots), **found.fitness.as_dict(), "tied": found.tied},
        "cross_validation": search["cross_validation"],
        "test": {name: found.model_dump() for name, found in measures.items()},
        "against_base": against and against.model_dump(),
        "history": str(out / CHART_FILE),
    }
    write_json(out / SUMMARY_FILE, summary)
    return summary


def _of_recipe(inputs: Inputs) -> dict[str, Any]:
    """What the mixture's card says before anything is searched."""
    recipe = inputs.recipe
    return {
        "name": recipe.name,
        "tokenizer": inputs.base.tokenizer_parts,
        "task": recipe.task.model_dump(),
        "chat": recipe.chat.model_dump(mode="json", exclude_defaults=True),
        "rewards": tuple(reward.name for reward in recipe.rewards),
        "correct_at": correct_from(recipe.rewards),
        "seed": recipe.seed,
        "stop": recipe.rollout.stop_strings,
        "versions": library_versions(),
    }


def _of_the_hub(recipe: AdaptRecipe) -> dict[str, list[str]]:
    """The experts that were fetched, by their commits; nothing where there were none."""
    fetched = [name for name in recipe.experts if on_hub(name)]
    return {"experts": fetched} if fetched else {}


def _write_history(history: Sequence[Mapping[str, Any]], out: Path) -> None:
    header = list(dict.fromkeys(name for row in history for name in row))
    table = [[row.get(name, "") for name in header] for row in history]
    write_csv(out / HISTORY_FILE, header, table)
    draw_history(history, out / CHART_FILE)
