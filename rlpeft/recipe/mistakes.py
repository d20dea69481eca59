"""What is said of a mistake in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlpeft.recipe.adapter import Section
from rlpeft.recipe.misplaced import elsewhere, keys_beside
from rlpeft.recipe.mix import LABEL
from rlpeft.recipe.overrides import table_names
from rlpeft.suggest import did_you_mean

MISSING = {
    "model": " Name the base model, such as model.name = 'smollm2-135m'; 'tiny' ships with us.",
    "task": " Name a task, such as task.name = 'gsm8k', or rows of your own by task.path.",
    "reward": " Name one, such as reward = [{ name = 'math' }], or a function of your own by "
    "'module:function'.",
}
"""What to write in the place of a section that has no default: a wrong guess would cost a run."""

KINDS_ELSEWHERE = {
    "qlora": " A quantised base is a model and no adapter: take adapter.type = 'lora', and as "
    "model.name a folder whose config.json has a quantization_config, with rollout.engine = 'hf'.",
}
"""What to write for a `type` of other libraries that is ours under another key."""

ASKED = "Input should be "
"""How pydantic says what must hold."""

LISTS = {"reward": "[{ name = 'math' }], or a section [[reward]] in double brackets"}
"""How lists of sections are written."""


def in_words(item: Any, schema: type[Section], tree: Any) -> str:
    """One of the errors that pydantic finds in a recipe, in a sentence.

    Args:
        schema: of the recipe.
        tree: the recipe as it was read.
    """
    called = _called(item["loc"], tree)
    where = ".".join(called) or "recipe"
    if item["type"] == "extra_forbidden":
        meant = _meant(item, called, schema)
        kind = _of_kind(item, tree)
        return f"unknown key {where!r}{kind}. Remove it or correct its spelling.{meant}"
    if item["type"] == "missing":
        section = ".".join(str(p) for p in item["loc"] if not isinstance(p, int))
        section = section.removesuffix(".name")
        return f"{where} must be given.{MISSING.get(section, '')}"
    if item["type"] == "union_tag_invalid":
        return _of_no_kind(where, item["ctx"])
    if item["type"] in ("model_type", "model_attributes_type"):
        return f"{where} must be a section of keys, got {item['input']!r:.200}."
    if item["type"] == "tuple_type":
        form = LISTS.get(where, "['a', 'b']")
        return f"{where} must be a list, such as {form}, got {item['input']!r:.200}."
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        # Of a table among several the message itself does not say which one it is.
        is_one = any(isinstance(part, int) for part in item["loc"])
        return f"{where}: {message}" if is_one else message
    message = message.replace(ASKED, "must be ").partition(", got ")[0]
    return f"{where}: {message}, got {item['input']!r:.200}."


def _of_no_kind(where: str, found: Mapping[str, str]) -> str:
    """Of a section of several kinds whose `type` is none of them."""
    kind, kinds = found["tag"], [name.strip(" '") for name in found["expected_tags"].split(",")]
    meant = KINDS_ELSEWHERE.get(kind.casefold(), "") or did_you_mean(kind, kinds)
    return f"{where}.type must be one of {', '.join(kinds)}, got {kind!r:.80}.{meant}"


def _called(place: Sequence[str | int], tree: Any) -> list[str]:
    """The parts of a place as `--set` takes them: a table of a list by what it alone is called.

    Of a section of several kinds pydantic names the kind, which nobody has written.
    """
    parts, at = list[str](), tree
    for number, part in enumerate(place, 1):
        if isinstance(at, dict) and part not in at and 1 < number < len(place):
            continue
        name = str(part)
        if isinstance(at, list) and isinstance(part, int) and part < len(at):
            names = table_names(at)
            if names.count(names[part]) == 1 and LABEL.fullmatch(names[part]):
                name = names[part]
            at = at[part]
        else:
            at = at.get(part) if isinstance(at, dict) else None
        parts.append(name)
    return parts


def _of_kind(item: Any, tree: Any) -> str:
    """Of which kind a section is that has no such key, where there are several."""
    place: Sequence[str | int] = item["loc"]
    at = tree.get(place[0])
    if len(place) < 3 or not isinstance(at, dict) or place[1] in at:
        return ""
    return f" of {place[0]}.type = {place[1]!r}"


def _meant(item: Any, called: Sequence[str], schema: type[Section]) -> str:
    """What an unknown key may have been meant to be."""
    *sections, key = called
    known = keys_beside(schema, item["loc"])
    if near := did_you_mean(key, known):
        return near
    there = elsewhere(schema, key, here=".".join(called))
    if there and not sections:
        return there
    options = f" Options of its own go under {'.'.join(sections)}.options." * ("options" in known)
    return f"{there}{options} Known are {', '.join(known)}."
