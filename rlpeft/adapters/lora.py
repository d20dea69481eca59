"""LoRA and DoRA, PEFT's own: their records."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import nn

from rlpeft.adapter_state import AdapterState, by_module
from rlpeft.adapters.method import Change, Method, Slice
from rlpeft.adapters.targets import is_transposed
from rlpeft.recipe.adapter import ATTENTION_AND_MLP, LoraFamilyAdapter


def lora_config(
    adapter: LoraFamilyAdapter, base: nn.Module, where: Mapping[str, Any]
) -> LoraConfig:
    """PEFT's config, with `use_dora` for DoRA."""
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        use_dora=adapter.type == "dora",
        fan_in_fan_out=is_transposed(base),
        **where,
    )
    if adapter.targets == ATTENTION_AND_MLP:
        # PEFT takes names such as gate_proj for those of fused experts where transformers once
        # had them, and would leave the dense layers of that name out.
        converted = copy.deepcopy(config)
        convert_peft_config_for_transformers(converted, base, None)
        if converted.target_parameters:
            config.target_modules = converted.target_modules
    return config


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


def update(state: AdapterState, base: str) -> Mapping[str, torch.Tensor]:
    """Module -> s B A [M, N]; DoRA's magnitudes are left out."""
    a_RN = by_module(state.tensors, "lora_A.weight")
    b_MR = by_module(state.tensors, "lora_B.weight")
    rank = state.config["r"] ** (0.5 if state.config.get("use_rslora") else 1)
    scale = state.config["lora_alpha"] / rank
    return Computed(list(a_RN), lambda m: scale * (b_MR[m].float() @ a_RN[m].float()))


_CHANGE = Change(read=update, words="update of the weight")

_SLICE = Slice(
    make="rlpeft.rollout.vllm.slice_adapters:low_rank_slice",
    forms=frozenset({"dense"}),
    unsupported=(
        "lora_bias",
        "alora_invocation_tokens",
        "use_qalora",
        "use_bdlora",
        "monteclora_config",
        "arrow_config",
        "kasa_config",
    ),
    is_guest=True,
)

LORA = Method(
    name="lora",
    label="LoRA",
    peft_type="LORA",
    is_ours=False,
    config=lora_config,
    marks={"use_dora": False},
    defaults={"use_dora": False},
    change=_CHANGE,
    is_mergeable=True,
    becomes_lora=True,
    slice=_SLICE,
)

DORA = Method(
    name="dora",
    label="DoRA",
    peft_type="LORA",
    is_ours=False,
    config=lora_config,
    marks={"use_dora": True},
    defaults={"use_dora": False},
    change=_CHANGE,
    is_mergeable=True,
    slice=_SLICE,
)
