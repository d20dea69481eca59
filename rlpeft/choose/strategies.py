"""The first pass: which expert shall answer a prompt (Transformer², arXiv 2501.06252, §3.2).

Three of the paper's ways, and the plainest:

    prompt      the base model is asked what kind of problem it is (A)
    classifier  an expert trained to tell kinds apart is asked (B)
    few-shot    the mixture that `rlpeft adapt` found for the task answers everything (C)
    NAME        one expert answers everything

The question is neutral: it goes through no task's template, whose wording would give the kind
away. `others`, and an answer without exactly one known label, mean the base model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rewards.text.label import verify_label
from rlpeft.choose.names import FEW_SHOT, FIRST_PASSES, require_strategy
from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import ExpertCard
from rlpeft.experts.measures import Measure
from rlpeft.experts.mixture import ExpertSet
from rlpeft.rollout.fleet import Fleet
from rlpeft.tasks.kinds import OTHERS, ask_kind, label_of
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem, Prompt, Sampling

FIRST_PASS = Sampling(max_tokens=24, temperature=0.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which expert answers, and what decided it."""

    expert: str
    why: str


class Strategy(Protocol):
    """The first pass."""

    def choose(self, prompts: Sequence[Prompt]) -> list[Choice]:
        """One choice a prompt; all prompts share one batch."""
        ...


@dataclass(frozen=True)
class Fixed:
    """One expert for everything: there is no first pass."""

    expert: str
    why: str = "named"

    def choose(self, prompts: Sequence[Prompt]) -> list[Choice]:
        """The same choice for each."""
        return [Choice(self.expert, self.why) for _ in prompts]


@dataclass(frozen=True)
class Question:
    """What is asked of whom to learn the kind of a prompt, and how the answer is read.

    Attributes:
        kinds: label -> expert.
        asked: expert that is asked; `None` for the base model.
        task: the task that expert was trained on, whose wording is used.
        passed_over: expert -> others of its kind, to which it is preferred.
        stop: strings that end the answer.
    """

    kinds: Mapping[str, str]
    asked: str | None = None
    task: str | None = None
    passed_over: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stop: tuple[str, ...] = ()

    def ask(self, prompt: Prompt) -> Prompt:
        """The question about this prompt."""
        return ask_kind(prompt, [*self.kinds, OTHERS], self.task)

    def read(self, answer: str) -> Choice:
        """The expert that an answer means."""
        labels = [*self.kinds, OTHERS]
        label = verify_label(answer, OTHERS, labels=labels).extracted
        who = self.asked or "the base model"
        known = {label.casefold(): label for label in self.kinds}
        if label in known:
            expert = self.kinds[known[label]]
            others = ", ".join(self.passed_over.get(expert, ()))
            preferred = f"; {expert} is preferred to {others}" if others else ""
            return Choice(expert, f"{who} says {known[label]!r}{preferred}")
        said = f"says {label!r}" if label else f"gives no known kind: {answer.strip()[:40]!r}"
        return Choice(BASE, f"{who} {said}")


@dataclass(frozen=True)
class Classify:
    """Ask for the kind of each prompt, on engines that hold the experts."""

    question: Question
    fleet: Fleet
    prompter: Prompter

    def choose(self, prompts: Sequence[Prompt]) -> list[Choice]:
        """Ask for each prompt, greedily."""
        asked = [Problem(f"kind/{k}", self.question.ask(p)) for k, p in enumerate(prompts)]
        # A prompter remembers problems by id, and these ids stand for other questions next time.
        prompter = self.prompter.afresh()
        requests = [prompter.request(p, [0], expert=self.question.asked) for p in asked]
        groups = self.fleet.rollout(requests, replace(FIRST_PASS, stop=self.question.stop))
        return [self.question.read(group[0].text) for group in groups]


def kinds_of(experts: Mapping[str, ExpertCard]) -> dict[str, list[str]]:
    """Label -> experts: the last part of the name of each expert's task (`tiny/swap`: swap).

    One that was trained on several tasks answers for each of them.

    Of several experts of one task the one that validated best comes first, and the first by name
    of equals. Mixtures and classifiers answer for no kind of their own.

    Raises:
        ExpertError: one label stands for different tasks, or none has a kind.
    """
    kinds: dict[str, dict[str, ExpertCard]] = {}
    for name, card in experts.items():
        if card.mixture is None and not _is_classifier(card):
            for section in card.sections:
                kinds.setdefault(label_of(str(section["name"])), {})[name] = card
    if not kinds:
        raise ExpertError("there must be an expert trained on a task to choose from, got none.")
    return {label: _ranked(label, cards) for label, cards in kinds.items()}


def _ranked(label: str, cards: Mapping[str, ExpertCard]) -> list[str]:
    sections = {name: _section(label, card) for name, card in cards.items()}
    if len({(section["name"], section.get("path")) for section in sections.values()}) > 1:
        tasks = ", ".join(
            f"{name!r} on {section.get('path') or section['name']!r}"
            for name, section in sections.items()
        )
        of_rows = any(section.get("path") for section in sections.values())
        why = " Rows of your own have no kind of their own to be asked for." if of_rows else ""
        raise ExpertError(
            f"the kind {label!r} must stand for one task, it stands for several: {tasks}.{why} "
            "Leave all but one out, or have one answer everything: --strategy NAME."
        )

    def order(name: str) -> tuple[float, str]:
        found = _validation(label, cards[name])
        return (math.inf if found is None else -found.value), name

    return sorted(cards, key=order)


def _validation(label: str, card: ExpertCard) -> Measure | None:
    """What chose an expert, of its problems of this kind."""
    parts = [p for p in card.tasks.values() if label_of(str(p.section["name"])) == label]
    return parts[0].validation if parts else card.validation


def _section(label: str, card: ExpertCard) -> Mapping[str, Any]:
    """The task of this kind that an expert was trained on."""
    return next(own for own in card.sections if label_of(str(own["name"])) == label)


def make_question(name: str, experts: Mapping[str, ExpertCard]) -> Question:
    """The question of one of `FIRST_PASSES`, of experts by name.

    Raises:
        ExpertError: the experts have not what it needs.
    """
    ranked = kinds_of(experts)
    kinds = {label: names[0] for label, names in ranked.items()}
    others: dict[str, list[str]] = {}
    for first, *rest in ranked.values():  # one expert may be the first of several kinds
        others[first] = list(dict.fromkeys([*others.get(first, ()), *rest]))
    if name == "prompt":
        return Question(kinds, passed_over=others)
    asked = _only(experts, name, "classifier (task `kind` or `tiny/kind`)", _is_classifier)
    card = experts[asked]
    return Question(kinds, asked, str(card.task["name"]), others, card.stop)


def make_strategy(name: str, experts: ExpertSet, fleet: Fleet, prompter: Prompter) -> Strategy:
    """The strategy of this name.

    Raises:
        ExpertError: no such strategy or expert, or the experts have not what it needs.
    """
    if name in FIRST_PASSES:
        return Classify(make_question(name, experts.named_cards), fleet, prompter)
    if name == FEW_SHOT:
        mixed = _only(
            experts.named_cards, name, "mixture (`rlpeft adapt`)", lambda c: c.mixture is not None
        )
        return Fixed(mixed, "found for this task by rlpeft adapt")
    require_strategy(name, experts.names)
    return Fixed(name)


def _is_classifier(card: ExpertCard) -> bool:
    return label_of(str(card.task["name"])) == "kind"


def _only(experts: Mapping[str, ExpertCard], strategy: str, what: str, fits: object) -> str:
    assert callable(fits)
    found = [name for name, card in experts.items() if fits(card)]
    if len(found) != 1:
        raise ExpertError(
            f"--strategy {strategy} needs exactly one {what} among the experts, got "
            f"{', '.join(found) or 'none'}."
        )
    return found[0]
