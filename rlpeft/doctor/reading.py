"""Prompts as the model reads them: every token that an engine is given, and what follows.

What is trained is shown of what was really sampled after the prompt; of recipes with `[sft]`, of
the row that supervision learns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.verdict import Verdict
from rlpeft.doctor.leak import occurrences
from rlpeft.doctor.row import Check
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import Recipe, task_of
from rlpeft.recipe.task import problem_called
from rlpeft.rollout.ends import read_stops
from rlpeft.tasks.decks import Deck, draw, problems_of
from rlpeft.tokens.pieces import Piece, pieces, shown
from rlpeft.tokens.prompts import turn_end
from rlpeft.tokens.requests import Prompter
from rlpeft.training.advantage import is_trained
from rlpeft.training.collect import Evidence
from rlpeft.types import Completion, Problem


@dataclass(frozen=True, slots=True)
class Reading:
    """One prompt, and what would be trained after it.

    Attributes:
        problem: what people call it.
        gold: the gold answer; empty if there is none.
        gold_count: how often the prompt holds it, as words of its own.
        answer: tokens after the prompt: sampled ones, or those that supervision learns.
        training: what of them is trained, and how they ended; why there are none.
    """

    problem: str
    prompt: Sequence[Piece]
    gold: str
    gold_count: int
    answer: Sequence[Piece]
    training: str


@dataclass(frozen=True, slots=True)
class AnswerEnds:
    """What ends an answer.

    Attributes:
        tokens: end-of-sequence tokens, and stop strings that are tokens.
        strings: the other stop strings, shown.
        written: the token that the chat template writes after an answer, of chat prompts.
    """

    tokens: Sequence[Piece]
    strings: Sequence[str]
    written: Piece | None


@dataclass
class Look:
    """Sees the first prompts of a run as its model does.

    Attributes:
        num_prompts: how many are wanted.
        readings, ends: what was seen, once the recipe is examined; none where it cannot be written.
        seen: the rollout of these prompts.
    """

    num_prompts: int
    readings: list[Reading] = field(default_factory=list)
    ends: AnswerEnds | None = None
    seen: Evidence | None = None

    def over(
        self, recipe: Recipe, base: BaseModel, decks: Sequence[Deck], prompter: Prompter
    ) -> Iterator[Check]:
        """Read the prompts; gives no row.

        Raises: as `readings`.
        """
        self.ends = ends(recipe, base, decks, prompter)
        self.readings = readings(recipe, base, decks, prompter, self.num_prompts, self.seen)
        yield from ()


def readings(
    recipe: Recipe,
    base: BaseModel,
    decks: Sequence[Deck],
    prompter: Prompter,
    count: int,
    seen: Evidence | None,
) -> list[Reading]:
    """The first prompts of a run, in the order of its first step.

    Args:
        seen: a rollout of these problems; `None` where there was none.

    Raises:
        DataError, ModelError: a prompt, or its completion by supervision, cannot be written.
    """
    count = min(count, len(problems_of(decks, "train")))
    answers = _answers(recipe, seen) if recipe.sft is None else {}
    found = []
    for problem in draw(decks, 0, count, recipe.train.seed):
        ids = prompter.encode(problem)
        if recipe.sft is None:
            answer, training = answers.get(problem.id, ((), "nothing was sampled: see above"))
        else:
            answer = _taught(recipe, base, problem, prompter)
            training = f"{len(answer):,} tokens, all trained by supervision, the end included"
        found.append(
            Reading(
                problem_called(problem.id, task_of(recipe.alone[problem.task]).source),
                pieces(prompter.tokenizer, ids),
                problem.answer,
                occurrences(problem, problem.answer),
                pieces(prompter.tokenizer, answer),
                training,
            )
        )
    return found


def ends(recipe: Recipe, base: BaseModel, decks: Sequence[Deck], prompter: Prompter) -> AnswerEnds:
    """What ends an answer of this recipe, as the engines are told."""
    tokenizer, problem = prompter.tokenizer, decks[0].split("train")[0]
    stops = read_stops(tokenizer, recipe.rollout.stop_strings)
    others = [id for id in stops.token_ids if id not in base.eos_ids]
    tokens = pieces(tokenizer, [*sorted(base.eos_ids), *others])
    written = None
    if not isinstance(problem.prompt, str):
        written = turn_end(tokenizer, problem.prompt, prompter.talk)
    last = None if written is None else pieces(tokenizer, [written])[0]
    return AnswerEnds(tokens, [shown(text).replace("\n", "") for text in stops.strings], last)


def _answers(recipe: Recipe, seen: Evidence | None) -> Mapping[str, tuple[Sequence[int], str]]:
    """Problem -> the ids of its first completion, and what became of them."""
    if seen is None:
        return {}
    found = {}
    for scored in seen.scored.groups:
        done, verdict = scored.group.completions[0], scored.verdicts[0]
        found[scored.group.problem.id] = (done.token_ids, _training(recipe, done, verdict))
    return found


def _training(recipe: Recipe, done: Completion, verdict: Verdict) -> str:
    count = f"{sum(done.own):,} sampled tokens, judged {verdict.kind}"
    if not is_trained(done, recipe.loss.mask_truncated):
        return f"{count}; cut off by a limit, and left out of the loss (loss.mask_truncated)"
    if done.truncated:
        return f"{count}; all trained, and no end among them: a limit cut them off"
    return f"{count}; all trained, the end included"


def _taught(recipe: Recipe, base: BaseModel, problem: Problem, prompter: Prompter) -> list[int]:
    from rlpeft.training.sft import IGNORED, training_rows  # TRL takes seconds to import

    (row,) = training_rows(recipe, [problem], prompter, context=base.context_length)
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    return [id for id, label in pairs if label != IGNORED]


def as_tree(found: Reading | AnswerEnds) -> dict[str, Any]:
    """For JSON: tokens are objects with `id` and `text`."""
    return {name: _tree(getattr(found, name)) for name in type(found).__slots__}


def _tree(value: Any) -> Any:
    if isinstance(value, Piece):
        return value._asdict()
    return [_tree(part) for part in value] if isinstance(value, list | tuple) else value
