"""Train an expert: the composition root of a run, on this machine or on a Ray cluster.

    python -m jobs.train RECIPE [--set section.key=value ...] [--out DIR] [--address ADDR] [--local]

Builds the parts a recipe names, trains, then tests the base model and the best expert once, on the
same problems. Everything a run leaves lies in one folder; a run started again on its folder
continues from its newest checkpoint.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from jobs.evaluate import Examiner
from jobs.parts import open_parts
from rlpeft.build import (
    build_canary,
    build_card,
    build_prompter,
    build_scorer,
    check_inputs,
    fingerprint,
)
from rlpeft.checkpoint import check_fingerprint, list_checkpoints
from rlpeft.config import Recipe
from rlpeft.errors import CheckpointError
from rlpeft.experts import load_expert, read_card, save_expert
from rlpeft.metrics import RunRecorder, read_metrics
from rlpeft.rollout.fleet import Proof
from rlpeft.tasks.catalogue import load_task
from rlpeft.trainer import Progress, Run, train

OnStep = Callable[[Progress, Mapping[str, float]], None]
Loop = Callable[[Run, OnStep], None]
Summary = dict[str, Any]

SUMMARY_FILE = "summary.json"


def run(
    recipe: Recipe,
    out: Path,
    *,
    address: str | None = None,
    ray: bool = True,
    on_step: OnStep | None = None,
    loop: Loop | None = None,
) -> Summary:
    """Train until the recipe's end, then test once.

    Args:
        out: the run's folder; an unfinished run in it is continued.
        address: a Ray cluster; see `jobs.cluster.connected` for what absence means.
        ray: `False` runs everything in this process.
        on_step: told after each step what it brought.
        loop: what trains, and tells `on_step`; reinforcement learning if absent.

    Returns:
        What `summary.json` of the folder holds.

    Raises:
        RlpeftError: the recipe, its data, its model or the cluster cannot do it.
        RewardError: a reward cannot be used.
    """
    task, prompter = load_task(recipe.task), build_prompter(recipe)
    with closing(build_scorer(recipe)) as scorer:
        check_inputs(recipe, task, prompter, scorer)
    with lone_run(out):
        start_or_continue(out, fingerprint(recipe, task))
        with (
            open_parts(recipe, ray=ray, address=address) as parts,
            closing(RunRecorder(out, recipe)) as recorder,
        ):
            this = Run(
                recipe=recipe,
                folder=out,
                task=task,
                learner=parts.learner,
                fleet=parts.fleet,
                scorer=parts.scorer,
                prompter=prompter,
                recorder=recorder,
                card=build_card(recipe),
                canary=build_canary(task, prompter),
            )
            examiner = Examiner(recipe, task, prompter, parts)
            base = examiner.proof()  # a fresh adapter changes nothing: this is the base model
            (loop or reinforce)(this, on_step or _say_nothing)
            return final_test(this, examiner, base)


def reinforce(this: Run, on_step: OnStep) -> None:
    """The RL loop."""
    for progress, metrics in train(this):
        on_step(progress, metrics)


def _say_nothing(progress: Progress, metrics: Mapping[str, float]) -> None:
    """Where nobody looks."""


@contextmanager
def lone_run(out: Path) -> Iterator[None]:
    """Hold a run's folder: two drivers in it would overwrite each other's steps.

    The lock ends with the process, however it ends.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"run {str(out)!r} must have one driver, another one is at work in it. Wait for "
                "it, stop it, or choose another --out."
            ) from error
        yield


def start_or_continue(out: Path, found: Mapping[str, Any]) -> None:
    """Refuse to continue a run under another set-up; one without a step may still be mended."""
    if not list_checkpoints(out):
        (out / "fingerprint.json").unlink(missing_ok=True)
    check_fingerprint(out, found)


def final_test(this: Run, examiner: Examiner, base: Proof) -> Summary:
    """Accuracy of base model and best expert on the test split, into card and summary.

    A run that was tested already keeps its figures.
    """
    card, path = read_card(this.best_folder), this.folder / SUMMARY_FILE
    if card.test is not None and path.is_file():
        return dict(json.loads(path.read_text()))
    problems = this.task.split("test")
    base_test = examiner.accuracy(base, problems)
    proof = examiner.load(load_expert(this.best_folder, base_digest=card.base_digest))
    expert_test = examiner.accuracy(proof, problems)
    card = card.model_copy(update={"test": expert_test, "base_test": base_test})
    save_expert(this.best_folder, proof.state, card)
    syncs = [row["sync/seconds"] for row in read_metrics(this.folder) if "sync/seconds" in row]
    summary = {
        "name": this.recipe.name,
        "expert": str(this.best_folder),
        "best_step": card.step,
        "digest": card.digest,
        "test": expert_test.model_dump(),
        "base_test": base_test.model_dump(),
        "trainable_parameters": sum(t.numel() for t in proof.state.tensors.values()),
        "sync_bytes": proof.state.num_bytes,
        "sync_ms": 1e3 * median(syncs),
    }
    write_json(path, summary)
    return summary


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2))
    os.replace(partial, path)


if __name__ == "__main__":
    from jobs.command import main

    main()
