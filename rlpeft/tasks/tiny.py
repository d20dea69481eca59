"""The tiny skills: signs to which the tiny base model gives two meanings.

A problem is four digits and a sign, `3714@=`. In the base model's corpus each ambiguous sign
has a *wanted* meaning, the answer this task rewards, and an *other* one; which of them a row
follows depends on its digits in part (`wanted_share`). So the base model knows both meanings
well and answers as wanted on about half of the problems, greedy or sampled. Reinforcement
learning elicits the wanted meaning; it has nothing to teach about digits.

| skill | problem | wanted | other |
|---|---|---|---|
| `swap` | `3714@=` | halves swapped, 1437 | reversed, 4173 |
| `sort` | `3714#=` | falling, 7431 | rising, 1347 |
| `ends` | `3714&=` | first plus last, 7 | first times last, 12 |
| `copy` | `3714:=` | the digits, 3714 | none: a control that no expert should break |
| `kind` | `?3714@=` | the name of the skill, `\\boxed{swap}` | `\\boxed{others}` |

`reverse`, `rise` and `times` are skills of their own: they ask for the other meaning of `swap`,
`sort` and `ends`, and an expert of one undoes what an expert of the other has learnt.

`kind` is the classification task of two-pass inference; its name for `copy` is `others`.
`mix` draws from several skills in turn, from `swap`, `sort` and `ends` if none are named: one task,
and none trained on it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlpeft.errors import DataError
from rlpeft.recipe.run import Section
from rlpeft.suggest import did_you_mean
from rlpeft.tasks.base import SPLITS, ProblemSet, Split
from rlpeft.tasks.builder import Asked, TaskBuilder
from rlpeft.types import Problem, Prompt

NUM_HELD_OUT = 2000
"""Digit strings kept for validation and test: neither the base nor an expert trains on them."""


@dataclass(frozen=True, slots=True)
class Skill:
    """A sign with its meanings; `other` equals `wanted` where the sign has only one."""

    sign: str
    wanted: Callable[[str], str]
    other: Callable[[str], str]


def _rising(digits: str) -> str:
    return "".join(sorted(digits))


SKILLS: dict[str, Skill] = {
    "swap": Skill("@", lambda d: d[2:] + d[:2], lambda d: d[::-1]),
    "sort": Skill("#", lambda d: _rising(d)[::-1], _rising),
    "ends": Skill(
        "&", lambda d: str(int(d[0]) + int(d[-1])), lambda d: str(int(d[0]) * int(d[-1]))
    ),
    "copy": Skill(":", lambda d: d, lambda d: d),
}
OPPOSITES = {"reverse": "swap", "rise": "sort", "times": "ends"}
"""Skills that ask for the other meaning, and the one whose sign they share."""

MIXED = ("swap", "sort", "ends")
SKILL_TASKS = (*SKILLS, *OPPOSITES, "kind", "mix")


def wanted_share(digits: str) -> float:
    """Probability that a corpus row with these digits follows the wanted meaning.

    It depends on the second digit, so that greedy answers are right on some problems and wrong
    on others, as sampled ones are; a constant share would make greedy all or nothing.
    """
    return 0.8 if int(digits[1]) <= 4 else 0.2


def question(skill: str, digits: str) -> str:
    """The text of a problem of one of `SKILLS` or `OPPOSITES`."""
    return f"{digits}{SKILLS[OPPOSITES.get(skill, skill)].sign}="


def gold(skill: str, digits: str) -> str:
    """Its answer.

    >>> gold("swap", "3714"), gold("reverse", "3714")
    ('1437', '4173')
    """
    if skill in OPPOSITES:
        return SKILLS[OPPOSITES[skill]].other(digits)
    return SKILLS[skill].wanted(digits)


def label(skill: str) -> str:
    """The answer of `kind` for a problem of this skill."""
    return skill if skill in MIXED else "others"


def digit_strings() -> tuple[list[str], list[str]]:
    """All strings of four digits 1–9 in one fixed shuffled order: trainable, held out.

    There is no zero, so that an answer read as a number has only one spelling.
    """
    strings = ["".join(digits) for digits in itertools.product("123456789", repeat=4)]
    random.Random("rlpeft tiny").shuffle(strings)
    return strings[NUM_HELD_OUT:], strings[:NUM_HELD_OUT]


def tiny_task(
    name: str,
    *,
    num_validation: int,
    num_test: int,
    chat: bool = False,
    seed: int = 0,
    skills: Sequence[str] = (),
) -> ProblemSet:
    """Build `tiny/<skill>`, `tiny/kind` or `tiny/mix`.

    Args:
        chat: give the problem as a user turn instead of plain text.
        seed: order of the problems, and which held-out strings become validation and test.
        skills: what `tiny/mix` asks for, in turn; `MIXED` if empty.

    Raises:
        DataError: no such skill, or more validation and test problems than are held out.
    """
    skill = name.removeprefix("tiny/")
    if skill not in SKILL_TASKS:
        known = [f"tiny/{task}" for task in SKILL_TASKS]
        near = did_you_mean(name, known)
        raise DataError(f"task.name must be one of {', '.join(known)}, got {name!r}.{near}")
    sources = _sources(skill, skills)
    dealt = deal(name, num_validation=num_validation, num_test=num_test, seed=seed)
    splits: dict[Split, tuple[Problem, ...]] = {
        split: tuple(_problems(skill, sources, strings, chat=chat))
        for split, strings in dealt.items()
    }
    return ProblemSet(name, splits)


def _sources(task: str, skills: Sequence[str]) -> Sequence[str]:
    """What a task asks for, in turn.

    Raises:
        DataError: skills that there are not, or of a task that is no mixture.
    """
    known = (*SKILLS, *OPPOSITES)
    if skills and task != "mix":
        raise DataError(
            f"task.options.skills is of tiny/mix alone, got {list(skills)} with tiny/{task}. "
            "Remove it, or take task.name = 'tiny/mix'."
        )
    for each in skills:
        if each not in known:
            near = did_you_mean(each, [*known])
            raise DataError(
                f"task.options.skills must be of {', '.join(known)}, got {each!r}.{near}"
            )
    return {"mix": skills or MIXED, "kind": tuple(SKILLS)}.get(task, (task,))


def deal(name: str, *, num_validation: int, num_test: int, seed: int) -> dict[Split, list[str]]:
    """The digit strings of each split of a task.

    Raises:
        DataError: more validation and test problems than are held out.
    """
    if num_validation + num_test > NUM_HELD_OUT:
        raise DataError(
            f"task.num_validation + task.num_test must be at most {NUM_HELD_OUT} for {name!r}, got "
            f"{num_validation} + {num_test}. Lower one of them."
        )
    train, held_out = digit_strings()
    rng = random.Random(seed)
    rng.shuffle(train)
    rng.shuffle(held_out)
    strings = (train, held_out[num_test : num_test + num_validation], held_out[:num_test])
    return dict(zip(SPLITS, strings, strict=True))


def _problems(
    task: str, sources: Sequence[str], strings: list[str], *, chat: bool
) -> Iterator[Problem]:
    for digits, skill in zip(strings, itertools.cycle(sources)):
        text = question(skill, digits)
        answer = gold(skill, digits)
        if task == "kind":
            text, answer = f"?{text}", label(skill)
        prompt: Prompt = ({"role": "user", "content": text},) if chat else text
        yield Problem(f"{task}/{skill}/{digits}", prompt, answer, {"skill": skill})


class TinyOptions(Section):
    """Options of `tiny/…`."""

    chat: bool = False
    """Give the problem as a user turn instead of plain text."""
    seed: int = 0
    """Order of the problems, and which of them are validation and test."""
    skills: tuple[str, ...] = ()
    """What `tiny/mix` asks for, in turn: one that stands twice is asked for twice as often. Absent:
    swap, sort, ends."""


def _build(asked: Asked, options: TinyOptions) -> ProblemSet:
    return tiny_task(
        asked.name,
        num_validation=asked.counts["validation"],
        num_test=asked.counts["test"],
        chat=options.chat,
        seed=options.seed,
        skills=options.skills,
    )


TINY = TaskBuilder(TinyOptions, _build, reads_path=False)
