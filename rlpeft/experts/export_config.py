"""The PEFT config of an export: made anew from the expert's card.

PEFT does as a config says: it scales, leaves modules out, initialises from other weights, and
imports a module that it names. So a stranger's file is compared, and never passed on.
"""

from __future__ import annotations

from typing import Any

from peft import PeftModel

from rlpeft.adapters.policy import adapter_state
from rlpeft.errors import ExpertError
from rlpeft.experts.files import CONFIG_FILE, Expert

SAYS_NOTHING = frozenset(
    {"auto_mapping", "base_model_name_or_path", "form", "inference_mode", "peft_version"}
    | {"factors", "revision", "task_type"}
)
"""Options that do not change what the tensors mean; `factors` are those of the base, whose digest
is compared, and of a base that was rounded in training they differ."""


def own_config(expert: Expert, policy: PeftModel) -> dict[str, Any]:
    """PEFT's config of an expert whose policy was built from its card.

    Raises:
        ExpertError: the expert's own config means another update.
    """
    made = dict(adapter_state(policy, expert.card.step).config)
    for option, value in made.items():
        given = expert.config.get(option, value)
        if option not in SAYS_NOTHING and _plain(given) != _plain(value):
            raise ExpertError(
                f"{CONFIG_FILE} of expert {expert.card.name!r} must be of {option} "
                f"{_plain(value)!r}, as its card means, got {given!r:.80}. Restore it, or train "
                "again."
            )
    return made


def _plain(value: Any) -> Any:
    """A value without what differs between versions of PEFT: empty ways to say none, order."""
    if isinstance(value, list | tuple | set):
        return sorted(value, key=str) or None
    return value or None if isinstance(value, dict | str) else value
