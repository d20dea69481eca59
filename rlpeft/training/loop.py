"""The RL loop, in the paper's order; every collaborator is passed in.

    problems  = next(batches)                     x_i and gold answers
    sync      engine <- z_t, proven               a few hundred KB; once for each z
    groups    = fleet.stream(problems)            y ~ π_t(·|x)
    scored    = score(groups)                     verdicts, in workers as groups come
    samples   = advantages(scored)                A
    fleet.rest()                                  an engine beside the learner gives memory back
    metrics   = learner.step(samples)             ∇ of A log π - λ KL(π ‖ base)
    record, checkpoint                            one of each a step

With `rollout.max_lag` the engines are at the groups of later steps meanwhile, under z of earlier
ones: see `rlpeft.training.ahead`.

All randomness is a function of `train.seed`, the step and the problem: a step that was cut off
and is run again gives the same completions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rewards.scorer import FAILURES
from rewards.verdict import VerdictKind
from rlpeft.errors import CheckpointError, ExpertError
from rlpeft.evaluate import evaluate, measures_by_task, selected
from rlpeft.experts.files import ExpertCard, load_expert, save_expert
from rlpeft.experts.measures import Measure
from rlpeft.experts.steps import keep_step, step_folder
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.conversation import Conversations
from rlpeft.rollout.fleet import PolicyFleet
from rlpeft.rollout.groups import TellGroups, unheard
from rlpeft.rollout.proof import Proof, Proven
from rlpeft.runs.checkpoint import load_checkpoint, save_checkpoint
from rlpeft.scoring import Scores, by_task, require_scorable
from rlpeft.tasks.decks import Deck, epochs, problems_of, resume_streams, stream_states
from rlpeft.tokens.requests import Prompter
from rlpeft.training.advantage import with_advantages
from rlpeft.training.ahead import Ahead, InTurn, RolloutOrder
from rlpeft.training.collect import GroupSource, metrics_by_task, rollout_metrics, to_samples
from rlpeft.training.ledger import Ledger
from rlpeft.training.protocol import Learner
from rlpeft.types import AdvantagedGroup, Sampling


class Recorder(Protocol):
    """Where a run's figures go."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step."""
        ...

    def completions(self, step: int, groups: Sequence[AdvantagedGroup]) -> None:
        """Every completion of one step with its verdict and advantage, in order."""
        ...

    def rewind(self, step: int) -> None:
        """Forget what was recorded after `step`: those steps are run again."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What decides the next step beside the learner.

    Attributes:
        step: optimizer steps taken.
        cursor: problems drawn so far, over all epochs.
        best_step: the step of the expert that is kept; -1 before any validation.
        best_points, best_total: of its validation, as `selected` compares them.
        stale: validations since then.
    """

    step: int = 0
    cursor: int = 0
    best_step: int = -1
    best_points: float = 0
    best_total: int = 0
    stale: int = 0


OnStep = Callable[[Progress, Mapping[str, float]], None]
"""Is told after each step how far the run is, and what the step brought."""


@dataclass(frozen=True)
class Run:
    """The collaborators of one run."""

    recipe: Recipe
    folder: Path
    decks: Sequence[Deck]
    learner: Learner
    fleet: PolicyFleet
    scorer: Scores
    prompter: Prompter
    sampling: Sampling
    recorder: Recorder
    card: ExpertCard
    canary: Sequence[Sequence[int]]
    conversations: Conversations | None = None

    @property
    def best_folder(self) -> Path:
        """Where the best expert so far lies."""
        return self.folder / "expert"

    @property
    def groups(self) -> GroupSource:
        """What a step learns from."""
        return GroupSource(
            decks=self.decks,
            fleet=self.fleet,
            scorer=self.scorer,
            train=self.recipe.train,
            sampling=self.sampling,
            prompter=self.prompter,
            conversations=self.conversations,
        )

    def epochs(self, cursor: int) -> dict[str, float]:
        """How often training problems were drawn, of all tasks and of each of several.

        Where one streams, the least of all tasks stands for all.
        """
        found = epochs(self.decks, cursor, self.recipe.train.seed)
        sizes = [deck.task.num_train for deck in self.decks]
        known = [size for size in sizes if size is not None]
        return {
            "epoch": cursor / sum(known) if known == sizes else min(found.values()),
            **{f"tasks/{label}/epoch": value for label, value in found.items() if label},
        }

    def proof(self) -> Proof:
        """The learner's adapter as it is now, with what proves its delivery."""
        return self.learner.proof(self.canary, self.recipe.rollout.canary_bound)


def train(run: Run, tell: TellGroups = unheard) -> Iterator[tuple[Progress, dict[str, float]]]:
    """Run to the end, one step at a time, from the newest checkpoint if there is one.

    Args:
        tell: see `GroupSource.collect`.

    Yields:
        After each step: the progress and the step's metrics. Stopping the iteration stops the
        run; the next call continues it.
    """
    progress = resume(run)
    with closing(rollouts_of(run, progress, tell)) as rollouts:
        if progress.step == 0 and progress.best_step < 0:
            run.recorder.rewind(-1)
            progress, metrics = validate(run, progress, rollouts.sync())
            run.recorder.metrics(0, metrics)
            yield progress, metrics
        if not finished(run, progress):
            rollouts.go_on()
        while not finished(run, progress):
            progress, metrics = train_step(run, progress, rollouts)
            save(run, progress, rollouts.earlier)
            yield progress, metrics


def rollouts_of(run: Run, progress: Progress, tell: TellGroups) -> RolloutOrder:
    """What gives the steps after `progress` their groups: in turn, or ahead of the learner."""
    train, lag = run.recipe.train, run.recipe.rollout.max_lag
    if not lag:
        return InTurn(partial(sync, run), partial(run.groups.collect, tell=tell))
    ledger = Ledger(
        steps=train.steps,
        lag=lag,
        prompts_per_step=train.prompts_per_step,
        learned=progress.step,
    )
    return Ahead(run.groups, run.fleet, ledger, prove=run.proof, earlier=earlier(run), tell=tell)


def train_step(
    run: Run, progress: Progress, rollouts: RolloutOrder
) -> tuple[Progress, dict[str, float]]:
    """One step: sync, roll out, score, learn, record; validate when it is time."""
    started, step = time.perf_counter(), progress.step + 1
    taken = rollouts.take(step, progress.cursor)
    rolled_out, seen = time.perf_counter(), taken.evidence
    loss = run.recipe.loss
    groups = with_advantages(
        seen.scored.groups,
        loss.advantage,
        mask_truncated=loss.mask_truncated,
        wrong=loss.wrong,
    )
    run.fleet.rest()
    metrics = run.learner.step(to_samples(groups))
    learned = time.perf_counter()
    metrics |= rollout_metrics(seen, progress.step) | taken.proven.metrics()
    metrics |= metrics_by_task(seen, progress.step) | run.epochs(seen.cursor)
    progress = replace(progress, step=step, cursor=seen.cursor)
    if step % run.recipe.train.eval_every == 0 or step == run.recipe.train.steps:
        progress, validation = validate(run, progress, rollouts.sync())
        metrics |= validation
    if not finished(run, progress):
        rollouts.go_on()
    metrics |= {
        "perf/rollout_s": rolled_out - started,
        "perf/learner_s": learned - rolled_out,
        "step_time": time.perf_counter() - started,
    }
    run.recorder.completions(step, groups)
    run.recorder.metrics(step, metrics | taken.times)
    return progress, metrics | taken.times


def sync(run: Run) -> Proven:
    """Make the learner's adapter the policy of every engine, with proof."""
    return run.fleet.sync(run.proof())


def validate(run: Run, progress: Progress, synced: Proven) -> tuple[Progress, dict[str, float]]:
    """Greedy answers to the validation split; keep the expert if they are the best so far."""
    found, groups = evaluate(
        problems_of(run.decks, "validation"),
        run.fleet,
        run.scorer,
        prompter=run.prompter,
        sampling=run.sampling.greedy,
        step=progress.step,
        conversations=run.conversations,
    )
    limit, what = run.recipe.train.unscorable_limit, "the validation completions"
    require_scorable(groups, limit=limit, step=progress.step, what=what)
    for label, own in by_task(groups).items():
        of_task = f"{what} of task {label!r}"
        require_scorable(own, limit=limit, step=progress.step, what=of_task)
    of_tasks = measures_by_task(groups)
    metrics = found.metrics | synced.metrics()
    for label, measure in of_tasks.items():
        metrics |= {f"tasks/{label}/{name}": value for name, value in measure.metrics.items()}
    if unscorable := found.verdicts[VerdictKind.UNSCORABLE]:
        metrics["eval_unscorable"] = float(unscorable)
    if failed := sum(found.verdicts[kind] for kind in FAILURES):
        metrics["eval_failed"] = float(failed)
    points, total = selected(run.recipe.train.select, found, groups)
    if run.recipe.train.select is not None:
        metrics["eval_selected"] = points / total
    if progress.best_step >= 0 and points * progress.best_total <= progress.best_points * total:
        return replace(progress, stale=progress.stale + 1), metrics
    keep_best(run, progress.step, found, of_tasks)
    best = {"best_step": progress.step, "best_total": total}
    return replace(progress, **best, best_points=points, stale=0), metrics


def keep_best(run: Run, step: int, found: Measure, of_tasks: Mapping[str, Measure]) -> None:
    """Write the learner's adapter as the run's expert."""
    state = run.learner.adapter_state()
    card = run.card.model_copy(update={"step": step, "digest": state.digest, "validation": found})
    card = card.with_tasks({label: {"validation": own} for label, own in of_tasks.items()})
    save_expert(run.best_folder, state, card)


def finished(run: Run, progress: Progress) -> bool:
    """Whether all steps are done, or validation has not improved for `train.patience` times."""
    train = run.recipe.train
    tired = train.patience is not None and progress.stale >= train.patience
    return progress.step >= train.steps or tired


def save(run: Run, progress: Progress, earlier: Sequence[Proof] = ()) -> None:
    """Keep the adapter of this step, and checkpoint everything that decides the next one.

    Args:
        earlier: see `RolloutOrder`.
    """
    train, state = run.recipe.train, run.learner.adapter_state()
    card = run.card.model_copy(update={"step": progress.step, "digest": state.digest})
    keep_step(run.folder, state, card, keep_bytes=train.keep_bytes)
    tree: dict[str, Any] = {"progress": asdict(progress), "learner": run.learner.state_dict()}
    if streams := stream_states(run.decks, progress.cursor, train.seed):
        tree["streams"] = streams
    if earlier:
        tree["earlier"] = [
            {"version": p.state.version, "tensors": p.state.tensors, "expected": p.expected}
            for p in earlier
        ]
    save_checkpoint(run.folder, progress.step, tree, keep=train.keep_checkpoints)


def resume(run: Run) -> Progress:
    """Continue from the newest checkpoint, or from the start."""
    tree = load_checkpoint(run.folder)
    if tree is None:
        return Progress()
    run.learner.load_state_dict(tree["learner"])
    resume_streams(run.decks, tree.get("streams", {}))
    found = dict(tree["progress"])
    if "best_correct" in found:  # as checkpoints named it when every reward was judged
        found["best_points"] = found.pop("best_correct")
    progress = Progress(**found)
    require_best(run, progress)
    run.recorder.rewind(progress.step)
    return progress


def earlier(run: Run) -> list[Proof]:
    """The policies, but the learner's own, that steps after the newest checkpoint begin with."""
    tree, now = load_checkpoint(run.folder) or {}, run.learner.adapter_state()
    bound = run.recipe.rollout.canary_bound
    return [
        Proof(
            replace(now, tensors=dict(each["tensors"]), version=each["version"]),
            run.canary,
            each["expected"],
            bound,
        )
        for each in tree.get("earlier", ())
    ]


def require_best(run: Run, progress: Progress) -> None:
    """Refuse to go on without the expert that is best so far: nothing later need be as good.

    Raises:
        CheckpointError: it is gone, damaged, or that of another step; says where it lies again.
    """
    try:
        step = load_expert(run.best_folder).card.step
        # One from behind the newest checkpoint, where a run was killed, is made anew.
        if progress.best_step < 0 or step == progress.best_step or step > progress.step:
            return
        found = f"that of step {step}."
    except ExpertError as error:
        found = str(error)
    again = step_folder(run.folder, progress.best_step)
    mend = f"Put {str(again)!r} in its place" if again.is_dir() else "Start anew in another folder"
    raise CheckpointError(
        f"{str(run.best_folder)!r} must be the best expert of its run so far, of step "
        f"{progress.best_step}, got: {found} {mend}."
    )
