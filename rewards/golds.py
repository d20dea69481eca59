"""What a gold answer may be: each reward says so, and a row of another type is refused by its name.

A list handed to a reward that reads text would be compared as the text of a list, and every row
be wrong or unscorable in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.errors import RewardError
from rewards.registry import LETTERS, REWARDS, TEXT

_TYPES: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True, slots=True)
class GoldRule:
    """Where a reward's gold answers come from, and what they may be.

    >>> GoldRule("math", "answer", TEXT).fault(["7"])
    "a gold answer must be text or a number for reward 'math', got the list ['7']"

    Attributes:
        reward: its short name.
        column: their column; dots read into dicts.
        types: names of Python types; `None` where its trainer's convention hands over anything.
    """

    reward: str
    column: str
    types: Sequence[str] | None

    def fault(self, value: Any) -> str:
        """Why `value` cannot be a gold answer; empty if it can. `None` is a missing one."""
        if (number := _no_number(value)) is not None:
            return f"a gold answer must be a finite number, got {number}"
        kind = _kind(value)
        if value is None or self.types is None or kind in self.types:
            items = value if kind == "list" and self._compares_letters() else []
            return next((self._unwritten(i) for i in items if isinstance(i, float)), "")
        if kind == "float" and self._compares_letters():
            return self._unwritten(value)
        return (
            f"a gold answer must be {self._wanted()} for reward {self.reward!r}, got the {kind} "
            f"{value!r:.80}"
        )

    def fault_of_items(self, items: Any) -> str:
        """Why one of several right answers cannot be one; empty if all can, and of other values."""
        # Lists without `options.several` are for a reward of one's own to read.
        types = text_types(self.reward)
        several = {*types, "list"} <= set(self.types or ())
        if not isinstance(items, (list, tuple)) or not several:
            return ""
        rule = GoldRule(self.reward, self.column, types)
        if lacking := [item for item in items if is_missing(item)] or ([] if items else [items]):
            return (
                f"a gold answer must be there for reward {self.reward!r}, got {lacking[0]!r} among "
                f"several right ones, {items!r:.80}"
            )
        return next((fault for fault in map(rule.fault, items) if fault), "")

    def _compares_letters(self) -> bool:
        types = text_types(self.reward)
        return types == LETTERS and self.types in (types, several_types(self.reward))

    def _unwritten(self, value: float) -> str:
        return (
            f"a gold answer must be text for reward {self.reward!r}, which compares letters, got "
            f"the number {value!r}, which has several forms. Write it as text in the data, as an "
            "answer shall be written, or take reward 'math', which compares numbers"
        )

    def mend(self) -> str:
        """How to make a gold answer fit, in one sentence."""
        return (
            "Fill or remove the row; or name another column with the reward's options.gold (rlpeft "
            "reward check: --option gold=COLUMN); set options.several = true where a list holds "
            "several right answers; a reward of your own that reads lists or dicts says so: "
            "my_reward.gold_types = (str, list)."
        )

    def _wanted(self) -> str:
        types = list(self.types or ())
        words = ["text or a number"] if {"str", "int"} <= set(types) else []
        words += [f"a {name}" for name in types if not words or name not in TEXT]
        return " or ".join(words)


def is_missing(value: Any) -> bool:
    """Whether a gold answer is null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def _no_number(value: Any) -> float | None:
    """A number in a value that is none: NaN or infinity, however deep."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    return next((found for found in map(_no_number, parts) if found is not None), None)


def text_types(reward: str) -> tuple[str, ...]:
    """What reads as text for one of our own rewards."""
    taken = REWARDS[reward].gold_types if reward in REWARDS else TEXT
    return tuple(kind for kind in taken if kind in TEXT)


def several_types(reward: str) -> tuple[str, ...]:
    """The same under `options.several`, where each item of a list is a right answer."""
    return (*text_types(reward), "list")


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return "dict"
    if isinstance(value, (list, tuple)):
        return "list"
    return next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "") or (
        type(value).__name__
    )


def declared_types(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """The types in a function's attribute `gold_types`, by name; `None` if it has none.

    Raises:
        RewardError: the attribute holds something else than types.
    """
    types = getattr(function, "gold_types", None)
    if types is None:
        return None
    found = types if isinstance(types, (list, tuple, set, frozenset)) else (types,)
    if not found or not all(isinstance(each, type) for each in found):
        raise RewardError(
            f"gold_types of a reward must be Python types such as (str, list), got {types!r:.80}."
        )
    return tuple(each.__name__ for each in found)


def gold_in(row: Mapping[str, Any], column: str) -> Any:
    """The value at `column` of a row; `reward_model.ground_truth` reads into dicts.

    Raises:
        KeyError: there is none.
    """
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise KeyError(column)
        value = value[key]
    return value


def gold_text(value: Any) -> str:
    """A gold answer as text, as JSON writes it; a missing one is empty, which is unscorable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
