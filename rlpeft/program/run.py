"""Train an expert: the composition root of a run, in this process or wherever its parts live.

Builds the parts a recipe names, trains, then tests the base model and the best expert once, on the
same problems. Everything a run leaves lies in one folder; a run started again on its folder
continues from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rlpeft.adapters.methods import named
from rlpeft.build import RunData, build_canary, build_card, fingerprint, read_decks
from rlpeft.experts.card_parts import with_merged
from rlpeft.experts.files import Expert, ExpertCard, load_expert, save_expert
from rlpeft.experts.measures import difference_of
from rlpeft.experts.merged import keep_parents
from rlpeft.experts.summary import read_summary
from rlpeft.files import write_json
from rlpeft.program.cut_off import cut_off_told
from rlpeft.program.examiner import Examiner, Measured, labels_of, parts_of
from rlpeft.program.folder import (
    lone_run,
    refuse_lost_checkpoints,
    say_continuing,
    start_or_continue,
)
from rlpeft.program.origin import Origin, open_origin
from rlpeft.program.parts import HERE, Parts, Venue, loaded_scorer
from rlpeft.program.rows_of_run import (
    keep_streamed,
    keep_trained_on,
    refuse_trained_on,
    tell_rows,
)
from rlpeft.recipe.rollout import require_room
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.groups import TellGroups, unheard
from rlpeft.rollout.proof import Proof
from rlpeft.runs.checkpoint import list_checkpoints
from rlpeft.runs.fingerprint import SUMMARY_FILE
from rlpeft.runs.records import RECIPE_FILE, RunRecorder, read_metrics, write_test
from rlpeft.runs.signal import MAX_TURNS, limits_met_in, mean_teaching
from rlpeft.runs.trackers import require_trackers
from rlpeft.scoring import LoadedScores
from rlpeft.tasks.base import SPLITS
from rlpeft.tasks.decks import problems_of, told_shared
from rlpeft.terminal import note, note_each, say
from rlpeft.training.loop import OnStep, Progress, Run, train

Loop = Callable[[Run, OnStep], None]
Summary = dict[str, Any]


def run(
    recipe: Recipe,
    out: Path,
    *,
    venue: Venue = HERE,
    on_step: OnStep | None = None,
    loop: Loop | None = None,
    method: str = "train",
) -> Summary:
    """Train until the recipe's end, test once; gives what `summary.json` of the folder holds.

    Args:
        out: the run's folder; an unfinished run in it is continued.
        venue: where learner, engines and rewards live.
        on_step, loop: told after each step what it brought; what trains, RL if absent.
        method: names `loop`; a run is not continued by another one.

    Raises:
        RlpeftError, RewardError: recipe, data, model, reward or cluster cannot do it.
    """
    recipe, origin = _opened(recipe, out)
    base, start, data = origin.base, origin.start, read_decks(recipe, origin.base)
    notes = [*origin.notes, *_refused(data, origin)]
    with loaded_scorer(recipe, venue, check=data.check) as scorer, lone_run(out):
        found = fingerprint(recipe, base, data.decks, start, functions=venue.functions)
        card = build_card(recipe, base, start, origin.merged, data.counts)
        _require_own(out, {"method": method, **found})
        _tell(notes, data)
        tree, to = recipe.model_dump(mode="json"), recipe.train.report_to
        with (
            venue.open(recipe, base, scorer) as parts,
            closing(RunRecorder(out, tree, report_to=to, tokenizer=base.tokenizer)) as recorder,
            _pictured(recorder),
        ):
            _look_at_golds(data, parts.scorer, are_checked=scorer is not None)
            this = Run(
                recipe=recipe,
                folder=out,
                decks=data.decks,
                learner=parts.learner,
                fleet=parts.fleet,
                scorer=parts.scorer,
                prompter=data.first.prompter,
                sampling=recipe.rollout.sampling,
                recorder=recorder,
                card=card,
                canary=build_canary(data.first.task, data.first.prompter),
                conversations=parts.conversations,
            )
            return _trained_and_tested(this, parts, origin, loop or reinforce, on_step)


def _opened(recipe: Recipe, out: Path) -> tuple[Recipe, Origin]:
    """See `open_origin`; what the recipe needs beside it is there, and its answers have room."""
    require_trackers(recipe.train.report_to)
    recipe, origin = open_origin(recipe, out / RECIPE_FILE)
    if not list_checkpoints(out):  # a run that goes on began so
        require_room(recipe.rollout.max_tokens, origin.base.context_length)
    return recipe, origin


def _require_own(out: Path, found: Mapping[str, Any]) -> None:
    """Refuse the folder of a run of something else, and of one that cannot go on."""
    start_or_continue(out, found)
    refuse_lost_checkpoints(out)


def _refused(data: RunData, origin: Origin) -> list[str]:
    """Refuse tests that experts have seen that training goes back to; gives what is to be told."""
    notes = []
    for own in data.by_label.values():
        tested, path = own.task.split("test"), own.path
        notes += refuse_trained_on(
            origin.folders, own.task, "test", tested, path=path, ways=["kept"]
        )
    return notes


def _tell(notes: Sequence[str], data: RunData) -> None:
    """Say, of a run that goes on, what its figures do not say; also which rows weigh more."""
    note_each(notes)
    for own in data.by_label.values():
        tell_rows(own.source, own.task)
    if shared := told_shared(data.decks):
        note(f"{shared}.")


def _look_at_golds(data: RunData, scores: LoadedScores, *, are_checked: bool) -> None:
    """Check them by rewards that are only now there, and tell of those that contradict."""
    if not are_checked:
        data.check(scores)
    note_each(data.notes(scores))


def _trained_and_tested(
    this: Run, parts: Parts, origin: Origin, loop: Loop, on_step: OnStep | None
) -> Summary:
    bare = _begin(this, origin)
    _say_beginning(this)
    with cut_off_told(on_step or _say_nothing, _limits(this.recipe)) as told:
        loop(this, told)
    return final_test(this, parts, bare, origin.start)


def _say_beginning(this: Run) -> None:
    """Say what comes before the next step: a validation, or nothing where the run goes on."""
    if not list_checkpoints(this.folder):
        asked = len(problems_of(this.decks, "validation"))
        say(f"Validating what training begins with, on {asked:,} problems.", err=True)
    else:
        say_continuing(this.folder, this.recipe.train.steps)


def _begin(this: Run, origin: Origin) -> Proof:
    """Have the learner, wherever it is, hold what training begins with; the base model's proof."""
    keep_parents(this.folder, origin.merged)
    drawn, chosen_by = (problems_of(this.decks, split) for split in SPLITS[:2])
    keep_trained_on(this.folder, drawn, chosen_by, before=origin.folders)
    keep_streamed(this.folder, this.decks)
    bare = this.proof()  # a fresh adapter changes nothing: this is the base model
    if origin.start is not None:
        this.learner.start_from(origin.start.state())
    return bare


def reinforce(this: Run, on_step: OnStep, tell: TellGroups = unheard) -> None:
    """The RL loop; `tell` is told within a step how many groups are generated, and of how many."""
    for progress, metrics in train(this, tell):
        on_step(progress, metrics)


@contextmanager
def _pictured(recorder: RunRecorder) -> Iterator[None]:
    """Give the report's charts to trackers that show them, of a run that is tested in here."""
    is_tested = (recorder.folder / SUMMARY_FILE).is_file()
    yield
    if is_tested or not recorder.reporting.takes_pictures:
        return
    from rlpeft.report.pictures import pictures  # which loads what draws them

    step = read_metrics(recorder.folder)[-1]["step"]
    recorder.reporting.pictures(step, pictures(recorder.folder))


def _say_nothing(progress: Progress, metrics: Mapping[str, float]) -> None:
    """Where nobody looks."""


def final_test(this: Run, parts: Parts, base: Proof, start: Expert | None = None) -> Summary:
    """Measure base model and best expert on the test split, into card, summary and test.parquet.

    A run that was tested already keeps its figures.

    Args:
        base, start: the base model's proof; what training began with, to be measured as well.

    Raises:
        ExpertError: the best expert is damaged; `steps` holds it again.
    """
    expert, before = load_expert(this.best_folder), read_summary(this.folder)
    card = expert.card
    if card.test is not None and before is not None:
        return before
    problems, bound = problems_of(this.decks, "test"), this.recipe.rollout.canary_bound
    _say_testing(len(problems), card, start)
    labels = labels_of(this.recipe)
    examiner = Examiner(parts, this.prompter, this.sampling, this.canary, bound, labels)
    bare = examiner.measure(base, problems)
    begun = None if start is None else examiner.measure(examiner.load(start), problems)
    proof = examiner.load(expert)
    tested = examiner.measure(proof, problems)
    answers = {"base": bare[1], "start": begun[1] if begun else (), "expert": tested[1]}
    write_test(this.folder, answers)
    # An adapter that has not moved holds the very tensors it began with, in every method.
    equals_base = card.digest == base.state.digest
    card = card.model_copy(update={**_test_of(tested, bare, begun), "equals_base": equals_base})
    card = card.with_tasks(_test_of_tasks(tested, bare, begun))
    save_expert(this.best_folder, proof.state, card)
    summary = {
        "name": this.recipe.name,
        "expert": str(this.best_folder),
        "steps": this.recipe.train.steps,
        "best_step": card.step,
        "digest": card.digest,
        "export_format": _export_format(card),
        "equals_base": equals_base,
        **_of_origin(card),
        "test": tested[0].model_dump(),
        "base_test": bare[0].model_dump(),
        "against_base": card.against_base and card.against_base.model_dump(),
        **({"tasks": _of_tasks(card)} if card.tasks else {}),
        **card.model_dump(include={"problems", "modules", "left_out"}),
        "trainable_parameters": sum(t.numel() for t in proof.state.tensors.values()),
        "sync_bytes": proof.state.num_bytes,
        **_of_steps(this),
    }
    write_json(this.folder / SUMMARY_FILE, summary)
    return summary


def _export_format(card: ExpertCard) -> str:
    """What the expert is to be exported as: a whole model, where there can be one."""
    is_mergeable = named(str(card.adapter["type"])).is_mergeable
    return "merged" if is_mergeable and not card.quantisation else "peft"


def _say_testing(number: int, card: ExpertCard, start: Expert | None) -> None:
    base = with_merged("its base model", card.merged)
    whose = f"the expert and {base}" if start is None else f"the expert, {base} and its start"
    say(f"Testing {whose} on {number:,} problems.", err=True)


def _test_of(expert: Measured, base: Measured, start: Measured | None) -> dict[str, Any]:
    """What a card says of the test."""
    return {
        "test": expert[0],
        "base_test": base[0],
        "against_base": difference_of(expert[1], base[1]),
        "start_test": start and start[0],
        "against_start": start and difference_of(expert[1], start[1]),
    }


def _of_steps(this: Run) -> Summary:
    """What a summary says of the steps: time of a sync, groups that taught, what ended most."""
    rows = read_metrics(this.folder)
    syncs = [row["sync/seconds"] for row in rows if "sync/seconds" in row]
    return {
        "sync_ms": 1e3 * median(syncs) if syncs else None,
        "teaching_groups": mean_teaching(rows, in_groups=this.recipe.loss.compares_groups),
        "ended_by": limits_met_in(rows, _limits(this.recipe)),
    }


def _limits(recipe: Recipe) -> dict[str, int]:
    """What may end an answer, or a conversation beside its environment, by the recipe's keys."""
    found = {"rollout.max_tokens": recipe.rollout.max_tokens}
    if (section := recipe.environment) is None:
        return found
    if (of_turn := section.max_turn_tokens) is not None:
        found = {"environment.max_turn_tokens": of_turn, **found}
    return {MAX_TURNS: section.max_turns, **found}


def _test_of_tasks(
    expert: Measured, base: Measured, start: Measured | None
) -> dict[str, dict[str, Any]]:
    """The same of each of several tasks, by its label."""
    ours, bare, begun = parts_of(expert), parts_of(base), parts_of(start) if start else {}
    return {label: _test_of(own, bare[label], begun.get(label)) for label, own in ours.items()}


def _of_tasks(card: ExpertCard) -> Summary:
    """What a summary says of each of several tasks."""
    figures = {"test", "base_test", "against_base", "start_test", "against_start"}
    return {label: part.model_dump(include=figures) for label, part in card.tasks.items()}


def _of_origin(card: ExpertCard) -> Summary:
    """What a summary says of experts in the base's weights, and of where training began."""
    merged = [parent.model_dump() for parent in card.merged]
    found: Summary = {"merged": merged} if merged else {}
    if card.start is None or card.start_test is None:
        return found
    return found | {
        "start": card.start.model_dump(),
        "equals_start": card.equals_start,
        "start_test": card.start_test.model_dump(),
        "against_start": card.against_start and card.against_start.model_dump(),
    }
