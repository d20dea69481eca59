"""THE table of adapter methods: everything that depends on the method is in its record.

A new method is a folder with its PEFT config, layer and tuner, its record, one line here, and one
in `rlpeft.recipe.adapter.SECTIONS`, which stands below and must not import PEFT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any

from peft import PeftModel

from rlpeft.adapter_state import AdapterState, by_module
from rlpeft.adapters.method import Method
from rlpeft.errors import ModelError

METHODS: dict[str, str] = {
    "svf": "rlpeft.adapters.svf.method:SVF",
    "lora": "rlpeft.adapters.lora:LORA",
    "dora": "rlpeft.adapters.lora:DORA",
    "ia3": "rlpeft.adapters.ia3:IA3",
    "hyplora": "rlpeft.adapters.hyplora.method:HYPLORA",
    "moslora": "rlpeft.adapters.moslora.method:MOSLORA",
}
"""`adapter.type` -> import path of the method's record."""

RENAMED = {
    "rank": "r",
    "alpha": "lora_alpha",
    "layers": "layers_to_transform",
    "feedforward": "feedforward_modules",
}
"""Options that PEFT's configs call otherwise than recipes; all others have one name in both."""


def methods() -> Iterator[Method]:
    """All records, in the order of the table."""
    return (named(name) for name in METHODS)


def named(name: str) -> Method:
    """The record of an `adapter.type` that is in the table."""
    record: Method = resolve_name(METHODS[name])
    return record


def method_of(config: Mapping[str, Any]) -> Method | None:
    """The record of a PEFT config, as a plain dict; `None` of a method that is not in the table."""
    peft_type = peft_type_of(config)
    for method in methods():
        found = {**method.defaults, **config}
        marked = all(found.get(option) == value for option, value in method.marks.items())
        if method.peft_type == peft_type and marked:
            return method
    return None


def method_of_policy(policy: PeftModel) -> Method | None:
    """The record of a policy's adapter; `None` of a method that is not in the table."""
    return method_of(vars(policy.active_peft_config))


def changes_base(state: AdapterState, base: str) -> bool | None:
    """Whether an adapter changes anything of its base model, `None` where nobody can tell.

    Args:
        base: name of the base model.
    """
    method = method_of(state.config)
    if method is None:
        return None
    try:
        read = method.change.read(state, base) if method.change else None
    except ModelError:  # sigmoid_renorm is read by the base's singular values, which may be absent
        return None
    found = by_module(state.tensors, method.zero) if read is None else read
    return any(bool(values.any()) for values in found.values())


def peft_type_of(config: Mapping[str, Any]) -> str:
    """The name of the method as PEFT's enum has it, in whichever form a file says it.

    >>> peft_type_of({"peft_type": "PeftType.SVF"})
    'SVF'
    """
    return str(config.get("peft_type")).rpartition(".")[2].upper()


def labels(which: Callable[[Method], Any]) -> str:
    """The methods that can do something, in words."""
    return _listed(method.label for method in methods() if which(method))


def peft_types(which: Callable[[Method], Any]) -> str:
    """The same as PEFT calls them, LoRA and DoRA in one."""
    return _listed(method.peft_type for method in methods() if which(method))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def meant(
    section: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a recipe's section and a PEFT config say of one adapter, both under PEFT's names."""
    name = str(section.get("type", ""))
    method = named(name) if name in METHODS else None
    said: dict[str, Any] = {"peft_type": name.upper()} if name else {}
    if method is not None:
        said = {"peft_type": method.peft_type, **method.marks, **method.former}
    passed_over = {"type", "targets"} | (method.trained_by if method else set())
    said |= {RENAMED.get(k, k): value for k, value in section.items() if k not in passed_over}
    defaults = method.defaults if method else {}
    return said, {**defaults, **config, "peft_type": peft_type_of(config)}


def mixed_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """The `[adapter]` section of an engine that runs mixtures of experts with this one; the same
    where the method cannot be mixed."""
    name = section.get("type", "svf")
    mixing = named(name).mixing if name in METHODS else None
    return {**section, **(mixing.options if mixing else {})}
