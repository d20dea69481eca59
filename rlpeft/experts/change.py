"""Experts as numbers: what each changes, module by module, and how two of them differ.

The *change* of a module is what its method's record says (`rlpeft.adapters.method.Change`): z - 1
for SVF, l - 1 for IA3, the update of the weight for LoRA and DoRA. It is zero where an expert
leaves the base model as it is, so its size, its cosine and its distances mean the same for every
method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from rlpeft.adapters.methods import method_of, methods, peft_type_of, peft_types
from rlpeft.errors import ExpertError
from rlpeft.experts.files import Expert, called

MODEL_ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Kinds of modules as data passes them; others follow by name."""


@dataclass(frozen=True, slots=True)
class KindStats:
    """The change of all modules of one kind, such as `q_proj`.

    Attributes:
        num_modules, num_values: modules of this kind, and numbers in their changes.
        low, high: smallest and largest number.
        rms: root of their mean square.
    """

    kind: str
    num_modules: int
    num_values: int
    low: float
    high: float
    rms: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How two experts differ.

    Attributes:
        cosine: of their changes over all common modules; 0 if one of them is zero.
        distances: module -> root of the mean square of the difference.
    """

    cosine: float
    distances: dict[str, float]


def changes(expert: Expert) -> Mapping[str, torch.Tensor]:
    """Module name (as in the base model) -> its change, fp32.

    Raises:
        ExpertError: the method has no change that can be read from its file.
        ModelError: `sigmoid_renorm` needs the base model's singular values, and it is not here.
    """
    method = method_of(expert.config)
    if method is None or method.change is None:
        raise ExpertError(
            f"expert {expert.card.name!r} must be of {peft_types(lambda m: m.change)} for its "
            f"change to be read from its file, it is {peft_type_of(expert.config)!r}: an update "
            "that depends on the token is no such change."
        )
    return method.change.read(expert.state(), called(expert.card))


def legend() -> str:
    """What the change is, method by method.

    >>> legend()
    'change: z - 1 (SVF), update of the weight (LoRA, DoRA), l - 1 (IA3)'
    """
    found: dict[str, list[str]] = {}
    for method in methods():
        if method.change is not None:
            found.setdefault(method.change.words, []).append(method.label)
    return "change: " + ", ".join(f"{words} ({', '.join(of)})" for words, of in found.items())


def place(module: str) -> tuple[int, str]:
    """Layer index (-1 if it is in none) and kind of a module.

    >>> place("model.layers.3.mlp.down_proj")
    (3, 'down_proj')
    """
    layer = re.search(r"\.(\d+)\.", module)
    return int(layer[1]) if layer else -1, module.rpartition(".")[2]


def kind_order(kind: str) -> tuple[int, str]:
    """Sorts kinds as data passes them."""
    known = MODEL_ORDER.index(kind) if kind in MODEL_ORDER else len(MODEL_ORDER)
    return known, kind


def rms(values: torch.Tensor) -> float:
    """Root of the mean square."""
    return float(values.square().mean().sqrt())


def kind_stats(change: Mapping[str, torch.Tensor]) -> list[KindStats]:
    """One record for each kind of module, in the order of the model."""
    kinds: dict[str, list[KindStats]] = {}
    for module, values in change.items():
        kind = place(module)[1]
        one = KindStats(
            kind, 1, values.numel(), float(values.min()), float(values.max()), rms(values)
        )
        kinds.setdefault(kind, []).append(one)
    return [_together(kinds[kind]) for kind in sorted(kinds, key=kind_order)]


def _together(parts: Sequence[KindStats]) -> KindStats:
    num_values = sum(part.num_values for part in parts)
    squares = sum(part.num_values * part.rms**2 for part in parts)
    return KindStats(
        parts[0].kind,
        len(parts),
        num_values,
        min(part.low for part in parts),
        max(part.high for part in parts),
        (squares / num_values) ** 0.5,
    )


def difference(first: Expert, second: Expert) -> Difference:
    """Compare two experts over the modules that both adapt.

    Raises:
        ExpertError: they stand on different base models, use different methods, or share no
            module.
    """
    if first.card.base_digest != second.card.base_digest:
        raise ExpertError(
            "experts to compare must stand on one base model, "
            f"{first.card.name!r} is on sha256:{first.card.base_digest[:12]}… and "
            f"{second.card.name!r} on sha256:{second.card.base_digest[:12]}…."
        )
    one, two = changes(first), changes(second)
    methods = [peft_type_of(expert.config) for expert in (first, second)]
    if methods[0] != methods[1] or not one.keys() & two.keys():
        raise ExpertError(
            "experts to compare must use one method on at least one common module, got "
            f"{methods[0]} on {len(one)} and {methods[1]} on {len(two)}."
        )
    return _difference(one, two)


def _difference(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> Difference:
    dot, squares, distances = 0.0, [0.0, 0.0], {}
    for module in [name for name in one if name in two]:
        a, b = one[module], two[module]
        dot += float((a * b).sum())
        squares = [squares[0] + float(a.square().sum()), squares[1] + float(b.square().sum())]
        distances[module] = rms(a - b)
    norm = (squares[0] * squares[1]) ** 0.5
    return Difference(dot / norm if norm else 0.0, distances)
