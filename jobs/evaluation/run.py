"""Several experts and their base model on several tasks: answered in shared batches, then figured.

An evaluation that is cut off goes on with the next batch, and ends with the same figures: these
are made of the files alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from jobs.cluster.parts import on_ray
from jobs.evaluation.asked import Survey, pin_name
from jobs.evaluation.figures import figures
from jobs.evaluation.kept import (
    AnswerRow,
    batch_path,
    gone_if_empty,
    has_batches,
    keep_batch,
    read_batch,
)
from jobs.evaluation.plan import AnswerBatch, Lane, batches
from rlpeft.adapter_state import AdapterState
from rlpeft.build import build_canary
from rlpeft.errors import EngineError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.mixture import ExpertSet, read_factors
from rlpeft.files import read_json, write_json, write_text
from rlpeft.program.examiner import Examiner
from rlpeft.program.folder import lone_run
from rlpeft.program.parts import HERE, Parts
from rlpeft.recipe.run import Recipe
from rlpeft.report.survey_chart import draw_survey
from rlpeft.rollout.fleet import ExpertFleet
from rlpeft.rollout.groups import roll_out
from rlpeft.runs.fingerprint import FINGERPRINT_FILE, SUMMARY_FILE, check_fingerprint
from rlpeft.scoring import score_groups
from rlpeft.terminal import note_each
from rlpeft.types import Group, ScoredGroup

CHART_FILE = "evaluation.svg"

OnBatch = Callable[[int, int], None]
"""Is told how many batches are answered, and of how many; at the start, too."""


def evaluate_survey(
    survey: Survey,
    out: Path,
    *,
    address: str | None = None,
    on_batch: OnBatch | None = None,
) -> dict[str, Any]:
    """Answer what is not answered yet; gives what `summary.json` of the folder holds.

    Args:
        out: an unfinished evaluation in it goes on.
        address: a Ray cluster; this process does it if absent.

    Raises:
        RlpeftError, RewardError: the folder holds something else; engines or rewards fail.
    """
    with answered(survey, out, address=address, on_batch=on_batch) as rows:
        summary = figures(survey, rows)
        write_json(out / SUMMARY_FILE, summary)
        draw_survey(summary, out / CHART_FILE)
    return summary


@contextmanager
def answered(
    survey: Survey,
    out: Path,
    *,
    address: str | None = None,
    on_batch: OnBatch | None = None,
) -> Iterator[Iterator[AnswerRow]]:
    """Answer what is not answered yet; every completion, while the folder is held.

    Args, Raises: see `evaluate_survey`.
    """
    with gone_if_empty(out), lone_run(out):
        check_fingerprint(out, survey.fingerprint(), anew=not _holds_anything(out))
        note_each(survey.notes)
        for at, exam in enumerate(survey.exams):
            write_text(out / pin_name(at), exam.recipe.model_dump_json(indent=2))
        answer(survey, out, address=address, on_batch=on_batch or _say_nothing)
        yield (row for batch in batches(survey) for row in read_batch(out, batch, survey))


def _holds_anything(out: Path) -> bool:
    """Whether the folder is that of a run, or of an evaluation that has got somewhere."""
    path = out / FINGERPRINT_FILE
    if not path.is_file():
        return False
    mend = "Restore it, or choose another --out."
    return has_batches(out) or read_json(path, mend=mend).get("method") != "evaluate"


def _say_nothing(done: int, total: int) -> None:
    """Where nobody looks."""


def answer(survey: Survey, out: Path, *, address: str | None, on_batch: OnBatch) -> None:
    """Answer every batch that is not there, a kind of engine at a time."""
    every = batches(survey)
    missing = [batch for batch in every if not batch_path(out, batch).exists()]
    done, total = len(every) - len(missing), len(every)
    on_batch(done, total)
    for lane in dict.fromkeys(batch.lane.names for batch in missing):
        todo = [batch for batch in missing if batch.lane.names == lane]
        with _seated(survey, todo[0].lane, address) as seat:
            for batch in todo:
                keep_batch(out, batch, survey, seat.answered(batch))
                done += 1
                on_batch(done, total)


@contextmanager
def _seated(survey: Survey, lane: Lane, address: str | None) -> Iterator[Seat]:
    exam = survey.exams[0]
    recipe = _engine_recipe(survey, lane)
    scorer: Any = exam.scorer  # every exam has its own; this keeps the parts from loading another
    venue = HERE if address is None else on_ray(address)
    with venue.open(recipe, survey.base, scorer) as parts:
        canary = build_canary(exam.task, exam.prompter, survey.samples.split)
        bound = recipe.rollout.canary_bound
        examiner = Examiner(parts, exam.prompter, exam.sampling, canary, bound)
        yield Seat(survey, lane, parts, examiner)


def _engine_recipe(survey: Survey, lane: Lane) -> Recipe:
    """The recipe of engines that have room for the longest of all exams."""
    recipes = [exam.recipe for exam in survey.exams]
    room = {
        key: max(getattr(recipe.rollout, key) for recipe in recipes)
        for key in ("max_prompt_tokens", "max_tokens")
    }
    rollout = recipes[0].rollout.model_copy(update=room)
    if lane.is_shared:
        rollout = rollout.for_experts(len(lane.names))
    resources = recipes[0].resources.model_copy(update={"reward_workers": 0})
    changes = {"adapter": lane.adapter, "rollout": rollout, "resources": resources}
    # Each exam has an environment of its own.
    return recipes[0].model_copy(update=changes | {"environment": None})


class Seat:
    """The engines of a lane, and what they run."""

    def __init__(self, survey: Survey, lane: Lane, parts: Parts, examiner: Examiner) -> None:
        self.survey, self.lane, self.parts, self.examiner = survey, lane, parts, examiner
        self._base = examiner.proof()  # a fresh adapter changes nothing: this is the base model
        self._digests: dict[str, str] = {}

    def answered(self, batch: AnswerBatch) -> dict[str, tuple[ScoredGroup, ...]]:
        """The groups of each policy, in the order of the problems.

        Raises:
            EngineError: a completion comes from another policy.
        """
        self._run(batch.names)
        exam, problems = batch.exam, batch.exam.problems[batch.start : batch.stop]
        asked = [(name, problem) for name in batch.names for problem in problems]
        requests = [
            replace(
                exam.prompter.request(problem, self.survey.seeds(problem), expert=self._row(name)),
                id=f"{name}/{problem.id}",
            )
            for name, problem in asked
        ]
        problems_asked = [problem for _, problem in asked]
        drawn = roll_out(
            problems_asked, requests, self.parts.fleet, exam.sampling, exam.conversations
        )
        self._require_own([name for name, _ in asked], drawn)
        scored = score_groups(drawn, exam.scorer, step=0).groups
        size = len(problems)
        return {name: scored[at * size : (at + 1) * size] for at, name in enumerate(batch.names)}

    def _row(self, name: str) -> str | None:
        """Whom a request names: nobody where the engines' policy answers."""
        return name if self.lane.is_shared and name != BASE else None

    def _run(self, names: Sequence[str]) -> None:
        """Have the engines run these policies, proven."""
        if tuple(self._digests) == tuple(names):
            return
        if self.lane.is_shared:
            self.parts.fleet.sync(self._base)
            states = self._states()
            cast(ExpertFleet, self.parts.fleet).load_experts(states)
        else:
            (name,) = names
            proof = self._base if name == BASE else self.examiner.load(self.survey.experts[name])
            self.parts.fleet.sync(proof)
            states = {name: proof.state}
        digests = {BASE: self._base.state.digest} | {n: s.digest for n, s in states.items()}
        self._digests = {name: digests[name] for name in names}

    def _states(self) -> dict[str, AdapterState]:
        experts = {name: self.survey.experts[name] for name in self.lane.names if name != BASE}
        folder = self.survey.folders[next(iter(experts))]
        dtype = self.survey.exams[0].recipe.model.dtype
        return ExpertSet.of(experts, read_factors(folder, self.survey.base, dtype)).states()

    def _require_own(self, names: Sequence[str], groups: Sequence[Group]) -> None:
        for name, group in zip(names, groups, strict=True):
            for completion in group.completions:
                if completion.digest != self._digests[name]:
                    raise EngineError(
                        f"completions of {name!r} must come from its adapter "
                        f"(sha256 {self._digests[name][:12]}…), one of problem "
                        f"{group.problem.id!r} comes from {completion.digest[:12]}…."
                    )
