"""Where modules went that had other names before 0.2: an import of an old one says the new one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "rewards.choice": "rewards.text.choice",
    "rewards.formats": "rewards.text.formats",
    "rewards.host": "rewards.hosted.host",
    "rewards.label": "rewards.text.label",
    "rewards.plain": "rewards.completion.plain",
    "rewards.pool": "rewards.workers.pool",
    "rewards.process": "rewards.hosted.process",
    "rewards.regions": "rewards.completion.regions",
    "rewards.shaping": "rewards.text.shaping",
    "rewards.worker": "rewards.workers.worker",
    "rewards.math.answer": "rewards.math.read.answer",
    "rewards.math.boxes": "rewards.completion.boxes",
    "rewards.math.extract": "rewards.math.find.extract",
}


class SaysWhere:
    """Asked first of all finders; a copy of `rlpeft.moved`'s, for rewards are used without it."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse an old name by telling the new one.

        Raises:
            ModuleNotFoundError: it was ours.
        """
        if name in MOVED:
            raise ModuleNotFoundError(f"{name} is now {MOVED[name]}.", name=name)
        return None


def tell_new_names() -> None:
    """Have imports of old names say the new ones."""
    if SaysWhere not in sys.meta_path:
        sys.meta_path.insert(0, SaysWhere)
