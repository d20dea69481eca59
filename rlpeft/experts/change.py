"""Experts as numbers: what each changes, module by module, and how two of them differ.

The *change* of a module is z - 1 [R] for SVF (singular values in descending order), l - 1 for IA3,
and the update B A [M, N] for LoRA and DoRA. It is zero where an expert leaves the base model as it
is, so its size, its cosine and its distances mean the same for every method.

M out_features, N in_features, R = min(M, N).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from rlpeft.adapter_state import module_of
from rlpeft.adapters.svf.factors import factorise
from rlpeft.adapters.svf.functional import multiplier
from rlpeft.errors import ExpertError, ModelError
from rlpeft.experts.files import Expert
from rlpeft.models.folder import resolve_model

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


class Computed(Mapping[str, torch.Tensor]):
    """Changes by module, each computed when it is asked for: all updates of a LoRA at once are as
    large as the model."""

    def __init__(self, modules: Sequence[str], compute: Callable[[str], torch.Tensor]) -> None:
        self._modules, self._compute = dict.fromkeys(modules), compute

    def __getitem__(self, module: str) -> torch.Tensor:
        if module not in self._modules:
            raise KeyError(module)
        return self._compute(module)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


def changes(expert: Expert) -> Mapping[str, torch.Tensor]:
    """Module name (as in the base model) -> its change, fp32.

    Raises:
        ExpertError: the method has no change that can be read from its file.
        ModelError: `sigmoid_renorm` needs the base model's singular values, and it is not here.
    """
    peft_type = str(expert.config.get("peft_type"))
    read = CHANGES.get(peft_type)
    if read is None:
        raise ExpertError(
            f"expert {expert.card.name!r} must be of {', '.join(CHANGES)} for its change to be "
            f"read from its file, it is {peft_type!r}: an update that depends on the token is no "
            "such change."
        )
    return read(expert)


def _svf(expert: Expert) -> dict[str, torch.Tensor]:
    trained = _by_module(expert, ".svf_z")
    parametrisation = expert.config["parametrisation"]
    if parametrisation == "direct":
        return {module: z_R.float() - 1 for module, z_R in trained.items()}
    singular_values = base_singular_values(resolve_model(expert.card.base_model), list(trained))
    return {
        module: multiplier(logits_R, singular_values[module], parametrisation) - 1
        for module, logits_R in trained.items()
    }


def _lora(expert: Expert) -> Mapping[str, torch.Tensor]:
    a_RN, b_MR = _by_module(expert, ".lora_A.weight"), _by_module(expert, ".lora_B.weight")
    rank = expert.config["r"] ** (0.5 if expert.config.get("use_rslora") else 1)
    scale = expert.config["lora_alpha"] / rank
    return Computed(list(a_RN), lambda m: scale * (b_MR[m].float() @ a_RN[m].float()))


def _ia3(expert: Expert) -> dict[str, torch.Tensor]:
    trained = _by_module(expert, ".ia3_l")
    return {module: scale.float().flatten() - 1 for module, scale in trained.items()}


CHANGES: dict[str, Callable[[Expert], Mapping[str, torch.Tensor]]] = {
    "SVF": _svf,
    "LORA": _lora,
    "IA3": _ia3,
}
"""How the change is read, by `peft_type`; DoRA is LORA there, and its magnitudes are left out."""


def _by_module(expert: Expert, suffix: str) -> dict[str, torch.Tensor]:
    return {
        module_of(name, suffix): tensor
        for name, tensor in sorted(expert.tensors.items())
        if name.endswith(suffix)
    }


def base_singular_values(base: Path, modules: Sequence[str]) -> dict[str, torch.Tensor]:
    """Singular values [R] of the named linear modules, without loading the model.

    Raises:
        ModelError: the base model has no weight of that name.
    """
    found: dict[str, torch.Tensor] = {}
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for module in set(modules) & {n.removesuffix(".weight") for n in weights.keys()}:  # noqa: SIM118
                factors = factorise(weights.get_tensor(f"{module}.weight"))
                found[module] = factors.singular_values
    missing = sorted(set(modules) - found.keys())
    if missing:
        raise ModelError(f"base model {str(base)!r} must have a weight of {missing[0]!r}.")
    return found


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
    if (
        first.config.get("peft_type") != second.config.get("peft_type")
        or not one.keys() & two.keys()
    ):
        raise ExpertError(
            "experts to compare must use one method on at least one common module, got "
            f"{first.config.get('peft_type')} on {len(one)} and "
            f"{second.config.get('peft_type')} on {len(two)}."
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
