"""Which modules "all attention and MLP projections" are, in any family of models.

They are the linear layers inside the decoder's layers, fused ones (`qkv_proj`, `gate_up_proj`,
`c_attn`) included, but for those that choose experts or scale a branch. Experts that are kept as
one tensor of three axes are no linear layers: whoever takes these targets is told of them.

Of a vision-language model the language model alone is adapted, whatever names its towers share
with it.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, check_target_module_exists
from torch import nn
from transformers.pytorch_utils import Conv1D

from rlpeft.errors import ModelError

CHOOSERS = frozenset({"router", "gate", "classifier", "indexer", "altup", "laurel"})
"""Parts of names of layers that choose experts or tokens, or mix the streams of Gemma 3n."""

SCALERS = ("_gate", "per_layer_input_gate", "per_layer_projection")
"""Ends of names of layers that scale a branch or feed Gemma's per-layer inputs."""


class DefaultTargets(BaseTuner):
    """A tuner whose config need name no targets: in no family of models."""

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> PeftConfig:
        """Fill in targets that are absent: the method's own where the model's family names its
        modules as in `target_module_mapping`, else all attention and MLP projections.

        Raises:
            ModelError: they cannot be found, or layers were chosen and no ends of names mean them.
        """
        missing = peft_config.target_modules is None
        known = model_config.get("model_type") in self.target_module_mapping
        if missing and not known and hasattr(self.model, "get_decoder"):
            names = projections(self.model)
            if others := left_out(self.model, names):
                warnings.warn(
                    f"target_modules is absent: of the decoder layers {counted(others)} are not "
                    "adapted.",
                    stacklevel=2,
                )
            found = target_modules(self.model, names)
            if isinstance(found, str) and peft_config.layers_to_transform is not None:
                raise ModelError(
                    f"target_modules must be named for {type(self.model).__name__} where "
                    "layers_to_transform is given, it is absent."
                )
            peft_config.target_modules = found if isinstance(found, str) else set(found)
        return super()._prepare_adapter_config(peft_config, model_config)


def projections(model: nn.Module) -> list[str]:
    """Full names of all attention and MLP projections, in the model's order.

    Raises:
        ModelError: the model has no list of decoder layers, or no linear layer in them.
    """
    found = [name for name, module in _in_layers(model) if _projects(name, module)]
    if not found:
        raise ModelError(
            f"adapter.targets must be named for {type(model).__name__}: no linear layer was found "
            "in its decoder layers."
        )
    return found


def is_transposed(model: nn.Module) -> bool:
    """Whether a model keeps its weights transposed, as GPT-2 does."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def adapted(model: nn.Module, config: PeftConfig) -> list[str]:
    """Full names of the linear layers that a PEFT config moves, in the model's order."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and check_target_module_exists(config, name)
    ]


def check_forward_is_used(parent: nn.Module, name: str) -> None:
    """Refuse a linear layer whose parent reads its weight and never calls it.

    An adapter there would change nothing and get no gradient, and nobody would say so.

    Args:
        name: full name of the layer.

    Raises:
        ModelError: its parent is torch's own attention, or a Mamba mixer, whose kernels take the
            weights of their projections (and whose slow path that of `dt_proj`).
    """
    if isinstance(parent, nn.MultiheadAttention) or hasattr(parent, "A_log"):
        raise ModelError(
            f"a target must be a layer that the model calls, {type(parent).__name__} reads the "
            f"weight of {name!r} past its forward. Name it in exclude_modules, or leave it out of "
            "target_modules."
        )


def unmatched(targets: Collection[str] | str, names: Collection[str]) -> list[str]:
    """Targets of a recipe that none of the adapted modules is named by."""
    if isinstance(targets, str):
        return []
    return sorted(t for t in targets if not any(_is_named(name, [t]) for name in names))


def towers(model: Any) -> dict[str, list[str]]:
    """Full names of the linear layers beside the language model of a vision-language one.

    Returns:
        What they lie in, `vision_model` or `connector` say -> names; empty for a model of text.
    """
    found: dict[str, list[str]] = {}
    if not hasattr(model, "get_decoder"):
        return found
    decoder = _name_of(model, model.get_decoder())
    around = decoder.rpartition(".")[0]
    if not around:
        return found
    for name, module in model.named_modules():
        is_inside = name.startswith(f"{around}.") and not name.startswith(f"{decoder}.")
        if is_inside and isinstance(module, nn.Linear | Conv1D):
            part = name.removeprefix(f"{around}.").partition(".")[0]
            found.setdefault(part, []).append(name)
    return found


def in_language_model(
    model: nn.Module, targets: Sequence[str] | str, layers: Collection[int] | None
) -> list[str]:
    """Full names of the targets that lie in the language model, in the model's order.

    Args:
        model: one with towers.
        targets: ends of names, of which the towers may have the same, or one regular expression.
        layers: of the language model; all if absent.

    Raises:
        ModelError: the expression matches what lies in a tower, or nothing is left.
    """
    beside = {name for names in towers(model).values() for name in names}
    names = [name for name in _linears(model) if _is_named(name, targets)]
    if isinstance(targets, str) and (strays := [name for name in names if name in beside]):
        raise ModelError(
            f"adapter.targets must match modules of the language model alone, {targets!r:.80} "
            f"matches {strays[0]!r} too ({len(strays)} beside it). Narrow the expression."
        )
    chosen = None if layers is None else tuple(f"{_layers(model)}.{layer}." for layer in layers)
    kept = [n for n in names if n not in beside and (chosen is None or n.startswith(chosen))]
    if not kept:
        raise ModelError(
            f"adapter.targets must match linear layers of the language model, none of "
            f"{type(model).__name__} does. Its projections are named "
            f"{', '.join(kind_counts(projections(model)))}."
        )
    return kept


def left_out(model: nn.Module, adapted: Collection[str]) -> Counter[str]:
    """What of the matrices is not adapted: kind of the decoder layers, or tower -> how many.

    Args:
        model: before or after an adapter was put around its layers.
        adapted: full names of the adapted modules in the base model.
    """
    kinds: Counter[str] = Counter()
    for name, module in _in_layers(model):
        if isinstance(module, nn.Linear | Conv1D) and name not in adapted:
            kinds[_kind(name)] += 1
        for part, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3:
                kinds[".".join(f"{name}.{part}".split(".")[-2:])] += 1
    for tower, names in towers(model).items():
        if count := len(names) - len({*names} & {*adapted}):
            kinds[tower] += count
    return kinds


def target_modules(model: nn.Module, names: Sequence[str]) -> list[str] | str:
    """PEFT's `target_modules` for exactly these modules: the shortest names that hit no other.

    Returns:
        Ends of names, or one regular expression over full names.
    """
    linears = set(_linears(model))
    for parts in (1, 2):
        ends = sorted({".".join(name.split(".")[-parts:]) for name in names})
        if {name for name in linears if _is_named(name, ends)} == set(names):
            return ends
    exact = [re.escape(name) for name in names]
    of_any_layer = {re.sub(r"\\\.\d+(?=\\\.)", r"\\.\\d+", pattern) for pattern in exact}
    found = _either(of_any_layer)
    fits = {name for name in linears if _is_named(name, found)} == set(names)
    return found if fits else _either(exact)


def _either(patterns: Collection[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in sorted(patterns))


def counted(kinds: Mapping[str, int]) -> str:
    """Kinds with their counts, in words.

    >>> counted({"q_proj": 2, "up_proj": 2})
    'q_proj 2, up_proj 2'
    """
    return ", ".join(f"{kind} {count}" for kind, count in kinds.items())


def _in_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules of the decoder layers with their names, without the inside of an adapter."""
    layers = _layers(model)
    found: list[tuple[str, nn.Module]] = []
    adapters: set[str] = set()
    for name, module in model.named_modules():
        if not name.startswith(f"{layers}."):
            continue
        if any(name.startswith(f"{outer}.") for outer in _outer(name, adapters)):
            continue
        if hasattr(module, "get_base_layer"):
            adapters.add(name)
            module = module.get_base_layer()
        found.append((name, module))
    return found


def _outer(name: str, adapters: Collection[str]) -> list[str]:
    parts = name.split(".")
    return [o for o in (".".join(parts[:n]) for n in range(1, len(parts))) if o in adapters]


def _layers(model: Any) -> str:
    """Name of the list of decoder layers: the first list of the language model."""
    inside = {id(module) for module in model.get_decoder().modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and id(module) in inside:
            return str(name)
    raise ModelError(
        f"adapter.targets must be named for {type(model).__name__}: it keeps no list of decoder "
        "layers."
    )


def _linears(model: nn.Module) -> list[str]:
    return [n for n, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _is_named(name: str, targets: Sequence[str] | str) -> bool:
    """As PEFT reads `target_modules`."""
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(f".{name}".endswith(f".{target}") for target in targets)


def _name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next((name for name, module in model.named_modules() if module is wanted), "")


def _projects(name: str, module: nn.Module) -> bool:
    is_chooser = not CHOOSERS.isdisjoint(name.split("."))
    return isinstance(module, nn.Linear | Conv1D) and not (is_chooser or name.endswith(SCALERS))


def kind_counts(names: Collection[str]) -> Counter[str]:
    """Last parts of full names -> how many."""
    return Counter(map(_kind, names))


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
