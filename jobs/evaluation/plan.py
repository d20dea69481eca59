"""In which batches an evaluation is answered: a function of what is asked alone.

An answer is rounded by the company that it is computed in, so what shares a batch must not depend
on where an evaluation was cut off. A batch is what is kept whole, or is answered anew whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.evaluation.asked import Exam, Survey
from rlpeft.adapters.methods import METHODS, named
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import Expert, adapter_of
from rlpeft.experts.mixture import mixed_adapter
from rlpeft.recipe.run import AdapterConfig

BATCH_ROWS = 256
"""Answers of a batch for each engine: as many as the `hf` engine generates at once by itself."""


@dataclass(frozen=True)
class Lane:
    """Policies that one kind of engine runs.

    Attributes:
        names: the base model among them in the first lane.
        is_shared: whether they share batches; otherwise each is synced and answers alone.
    """

    adapter: AdapterConfig
    names: tuple[str, ...]
    is_shared: bool

    @property
    def turns(self) -> list[tuple[str, ...]]:
        """Who answers together, in order."""
        return [self.names] if self.is_shared else [(name,) for name in self.names]


@dataclass(frozen=True)
class AnswerBatch:
    """Some problems of an exam, answered by some policies together."""

    number: int
    lane: Lane
    names: tuple[str, ...]
    exam: Exam
    start: int
    stop: int


def lanes(experts: Mapping[str, Expert]) -> list[Lane]:
    """Experts by the engine that runs them.

    Those whose method lets each row of a batch run its own share it where they adapt the same
    modules under the same options.
    """
    groups: dict[str, list[str]] = {}
    adapters: dict[str, AdapterConfig] = {}
    for name, expert in experts.items():
        is_shared = _shares(expert)
        adapter = mixed_adapter(expert.card) if is_shared else adapter_of(expert.card)
        shapes = {key: tuple(tensor.shape) for key, tensor in sorted(expert.tensors.items())}
        key = json.dumps([adapter.model_dump(mode="json"), shapes if is_shared else None])
        groups.setdefault(key, []).append(name)
        adapters[key] = adapter
    return [
        Lane(adapters[key], (*((BASE,) if at == 0 else ()), *names), _shares(experts[names[0]]))
        for at, (key, names) in enumerate(groups.items())
    ]


def _shares(expert: Expert) -> bool:
    name = str(expert.card.adapter.get("type", "svf"))
    return name in METHODS and named(name).runs_rows


def batches(survey: Survey) -> list[AnswerBatch]:
    """All of an evaluation, in the order in which they are answered."""
    spans = [
        (lane, names, exam, start, stop)
        for lane in lanes(survey.experts)
        for names in lane.turns
        for exam in survey.exams
        for start, stop in _spans(survey, exam, len(names))
    ]
    return [AnswerBatch(number, *span) for number, span in enumerate(spans)]


def _spans(survey: Survey, exam: Exam, num_policies: int) -> Iterator[tuple[int, int]]:
    rows = BATCH_ROWS * exam.recipe.rollout.num_engines
    size = max(1, rows // (num_policies * survey.samples.number))
    for start in range(0, len(exam.problems), size):
        yield start, min(start + size, len(exam.problems))
