"""The README of an exported adapter: how to load it, on which base, and what it is worth.

Its front matter is what model hubs read. Names come from an expert's card, which may come from
anywhere: they are quoted as JSON in the front matter and shown as code in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from rlpeft.adapters.methods import named
from rlpeft.experts.files import ExpertCard
from rlpeft.models.folder import FETCHABLE, PACKAGED

README_FILE = "README.md"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_hub_id(name: str) -> bool:
    """Whether others may find a base model by this name: `owner/name`, and no folder here."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def model_card(card: ExpertCard, base: str, attention: str = "sdpa") -> str:
    """The text of the README.

    Args:
        base: the base model as the adapter's config names it.
        attention: the implementation that computes what the base's config says.
    """
    method = named(str(card.adapter.get("type")))
    head = {"library_name": "peft", "tags": ["rlpeft", method.name]}
    if is_hub_id(base):
        head["base_model"] = base
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    label = method.label if method.is_ours else method.name.upper()
    parts = [
        f"---\n{front}\n---\n\n# {_code(card.name)}",
        f"A PEFT adapter ({label}) trained by rlpeft with "
        f"{', '.join(map(_code, card.rewards))}, task {_code(card.task.get('name', '?'))}, "
        f"step {card.step:,}.",
        f"```python\n{_code_block(card, base, attention)}\n```",
        _base(card, base),
        _figures(card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _code_block(card: ExpertCard, base: str, attention: str) -> str:
    ours, method = [], named(str(card.adapter.get("type")))
    if method.is_ours:
        ours = [f"import rlpeft.adapters  # makes {method.label} known to PEFT"]
    name, lookup = json.dumps(base), []
    if not is_hub_id(base) and card.base_model in (*PACKAGED, *FETCHABLE):
        lookup = ["from rlpeft.models.folder import resolve_model"]
        name = f"resolve_model({json.dumps(card.base_model)})"
    # transformers' own choice leaves a cap of attention scores out, and says nothing.
    options = 'dtype="float32"'
    options += "" if attention == "sdpa" else f", attn_implementation={json.dumps(attention)}"
    return "\n".join(
        [
            *ours,
            "from peft import PeftModel",
            *lookup,
            "from transformers import AutoModelForCausalLM",
            "",
            f"base = AutoModelForCausalLM.from_pretrained({name}, {options})",
            'model = PeftModel.from_pretrained(base, ".")  # this folder, or its name on a hub',
        ]
    )


def _base(card: ExpertCard, base: str) -> str:
    where = f"Base model: {_code(base)}"
    if card.base_model in FETCHABLE:
        where = (
            f"Base model: {_code(card.base_model)}, made by `rlpeft models fetch "
            f"{card.base_model}` from a quantised file, not the weights of that name on a hub"
        )
    elif card.base_model in PACKAGED:
        where = f"Base model: {_code(card.base_model)}, which comes with rlpeft"
    return (
        f"{where}.\nSHA-256 of the base (`rlpeft.models.digest`): `{card.base_digest}`.\n"
        f"SHA-256 of the adapter's tensors: `{card.digest}`."
    )


def _figures(card: ExpertCard) -> str:
    known: Mapping[str, object | None] = {
        "Test": card.test,
        "Test, base model alone": card.base_test,
        "Validation": card.validation,
    }
    return "\n".join(f"- {name}: {found}" for name, found in known.items() if found is not None)


def _code(text: object) -> str:
    visible = "".join(c if c.isprintable() and c != "`" else "?" for c in str(text))
    return f"`{visible[:200]}`"
