"""What an environment is, and what it may answer.

An environment is made anew for each conversation. `reset` tells what the prompt does not hold,
`step` answers a turn of the policy; either may be async. What it returns goes into the context of
the model, so it is text of bounded length, without control characters, or the conversation fails.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Awaitable, Mapping
from typing import Any, NamedTuple, Protocol

from rewards.reading import LARGEST, number_of

MOST_CHARACTERS = 100_000
"""Of an observation: more than a context holds."""

BLANKS = "\n\r\t"
"""Control characters that text has."""

FORMS = "text, (observation, reward, done) or (observation, reward, done, correct)"
"""What `step` may return."""


class Step(NamedTuple):
    """What an environment answers to a turn; a text or a tuple of its first three or four will do.

    >>> Step("try again").done
    False

    Attributes:
        observation: what the policy reads next; of the last step it is read by nobody.
        reward: of this turn; those of a conversation are added up. `True` and `False` are 1 and 0,
            and say what is `correct`.
        done: whether the conversation ends here.
        correct: whether the conversation ends well, if that can be said.
    """

    observation: str = ""
    reward: float | bool = 0.0
    done: bool = False
    correct: bool | None = None


class Environment(Protocol):
    """What answers the policy, in one conversation.

    A class, or what else makes one, is named in a recipe and given its options.
    """

    def reset(self, row: Mapping[str, Any], seed: int) -> str | Awaitable[str | None] | None:
        """Begin.

        Args:
            row: columns of the problem, its gold answer as `answer`, and its `prompt`.
            seed: the same for all completions of a problem in a step, as what is returned must be.

        Returns:
            Text that follows the prompt, or nothing.
        """
        ...

    def step(self, text: str) -> Step | str | Awaitable[Step | str]:
        """Answer what the policy wrote."""
        ...


class Nonsense(Exception):
    """What an environment gave is no answer."""


def read_opening(value: Any) -> str:
    """What `reset` gave, as text.

    Raises:
        Nonsense: it is none.
    """
    return "" if value is None else _text(value, "reset")


def read_step(value: Any) -> Step:
    """What `step` gave.

    Raises:
        Nonsense: it is none of `FORMS`, its text cannot go into a context, or its reward is no
            number.
    """
    if isinstance(value, str):
        return Step(_text(value, "step"))
    if not isinstance(value, tuple) or len(value) not in (3, 4):
        count = f" of {len(value)}" if isinstance(value, tuple) else ""
        raise Nonsense(f"step must return {FORMS}, got {type(value).__name__}{count} {value!r:.60}")
    if isinstance(value[1], str) and not isinstance(value[0], str):
        raise Nonsense(f"step must return {FORMS}, in this order, got {value!r:.80}")
    observation, reward, done, correct = Step(*value)
    done, correct = number_of(done), number_of(correct)
    if not isinstance(done, bool) or not isinstance(correct, bool | None):
        raise Nonsense(f"step must say by True or False whether it is done, got {value!r:.80}")
    number = number_of(reward)
    if isinstance(number, bool) and correct is None and done:
        correct = number
    text = "" if done and observation is None else _text(observation, "step")
    return Step(text, _score(number), done, correct)


def _score(number: Any) -> float:
    if not isinstance(number, int | float) or not abs(number) <= LARGEST or math.isnan(number):
        raise Nonsense(f"step must give a finite number as its reward, got {number!r:.60}")
    return float(number)


def _text(value: Any, of: str) -> str:
    if not isinstance(value, str):
        raise Nonsense(f"{of} must return text, got {type(value).__name__} {value!r:.60}")
    text = str.__str__(value)  # a subclass may tell another length, and other letters
    if len(text) > MOST_CHARACTERS:
        raise Nonsense(f"{of} must return at most {MOST_CHARACTERS} characters, got {len(text)}")
    for place, letter in enumerate(text):
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in BLANKS:
            raise Nonsense(f"{of} must return plain text, its character {place} is {letter!r}")
    return text
