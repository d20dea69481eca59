"""SVF as a PEFT tuner."""

from __future__ import annotations

from typing import Any

from peft.utils.integrations import dequantize_module_weight
from torch import nn

from rlpeft.adapters.rows import MixedBatches
from rlpeft.adapters.svf.config import SvfConfig
from rlpeft.adapters.svf.layer import SvfLinear
from rlpeft.errors import ModelError
from rlpeft.factors import warm_cache

LLAMA_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class SvfModel(MixedBatches):
    """Wraps every targeted linear layer in an `SvfLinear`.

    >>> model = get_peft_model(base, SvfConfig(target_modules="all-linear"))  # doctest: +SKIP
    """

    prefix = "svf_"
    tuner_layer_cls = SvfLinear
    # Without explicit targets: all attention and MLP projections of the model types that name
    # them as Llama does (paper, Table 4: MLP + attention is best).
    target_module_mapping = dict.fromkeys(
        (
            "llama",
            "mistral",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "smollm3",
            "olmo2",
        ),
        LLAMA_PROJECTIONS,
    )

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        prepared = self._prepare_adapter_config(config, self.get_model_config(model))
        weights = [
            dequantize_module_weight(module)
            for name, module in model.named_modules()
            if type(module) is nn.Linear
            and not module.weight.is_meta
            and self._check_target_module_exists(prepared, name) is True
        ]
        warm_cache(weights)

    def _create_and_replace(
        self,
        svf_config: SvfConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        if isinstance(target, SvfLinear):
            target.update_layer(adapter_name, config=svf_config)
            return
        if not hasattr(target, "weight") or not hasattr(target, "in_features"):
            raise ModelError(
                f"SVF targets must be linear layers, {current_key!r} is a "
                f"{type(target).__name__}. Remove it from target_modules."
            )
        layer = SvfLinear(target, adapter_name, svf_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)
