"""SVF as a PEFT tuner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rlpeft.adapters.linear import full_weight
from rlpeft.adapters.rows import MixedBatches
from rlpeft.adapters.svf.config import SvfConfig
from rlpeft.adapters.svf.factors import warm_cache
from rlpeft.adapters.svf.layer import SvfLinear
from rlpeft.adapters.svf.same_base import hold_to_base
from rlpeft.adapters.targets import DefaultTargets, check_forward_is_used
from rlpeft.errors import ConfigError, ModelError

LLAMA_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class SvfModel(DefaultTargets, MixedBatches):
    """Wraps every targeted linear layer in an `SvfLinear`.

    >>> model = get_peft_model(base, SvfConfig(target_modules="all-linear"))  # doctest: +SKIP
    """

    prefix = "svf_"
    tuner_layer_cls = SvfLinear
    # Without explicit targets: all attention and MLP projections (paper, Table 4: MLP + attention
    # is best). Of these model types the names are known, of others they are found.
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
            full_weight(module)
            for name, module in model.named_modules()
            if type(module) in (nn.Linear, Conv1D)
            and not module.weight.is_meta
            and self._check_target_module_exists(prepared, name) is True
        ]
        warm_cache(weights, config.decomposition)

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
        check_forward_is_used(parent, current_key)
        if isinstance(target, SvfLinear):
            target.update_layer(adapter_name, config=svf_config)
            return
        layer = SvfLinear(target, adapter_name, svf_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any
    ) -> None:
        """See `BaseTuner.inject_adapter`.

        Raises:
            ModelError: the adapter comes from a file, and was trained on another base.
            ConfigError: the model has adapters on factors of another decomposition.
        """
        self._check_decomposition(model, self.peft_config[adapter_name])
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        layers = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, SvfLinear) and adapter_name in module.svf_z
        }
        hold_to_base(self.peft_config[adapter_name], layers)

    def merge_adapter(
        self, adapter_names: list[str] | None = None, safe_merge: bool = False
    ) -> None:
        """Merge as PEFT does, but refuse names that it would pass over.

        Raises:
            ConfigError: there is no adapter of a name.
        """
        self._check_known(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _check_merge_allowed(self) -> None:
        """Refuse to write W' into a weight that other modules compute with, too.

        Raises:
            ModelError: a tied head is adapted; merging would change the embedding with it.
        """
        owners: dict[int, set[tuple[nn.Module, nn.Module]]] = {}
        for parent in self.model.modules():
            for module in parent.children():
                for parameter in module.parameters(recurse=False):
                    owners.setdefault(id(parameter), set()).add((parent, module))
        for name, layer in self.model.named_modules():
            if not isinstance(layer, SvfLinear):
                continue
            if any(len(owners[id(p)]) > 1 for p in layer.base_layer.parameters(recurse=False)):
                raise ModelError(
                    f"merging needs weights of the module's own, that of {name!r} is tied to "
                    "another module, which would change with it. Load the base model with "
                    "tie_word_embeddings=False, or keep the adapter in place."
                )
        super()._check_merge_allowed()

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> Any:
        self._check_known(kwargs.get("adapter_names"))
        return super()._unload_and_optionally_merge(*args, **kwargs)

    def _check_decomposition(self, model: nn.Module, config: Any) -> None:
        for module in model.modules():
            if isinstance(module, SvfLinear) and module.decomposition != config.decomposition:
                raise ConfigError(
                    "adapters of one model must share their factors: those here are of "
                    f"decomposition {module.decomposition!r}, this one's are of "
                    f"{config.decomposition!r}. Load it on a base model of its own."
                )

    def _check_known(self, names: Sequence[str] | None) -> None:
        unknown = sorted(set(names or ()) - self.peft_config.keys())
        if unknown and not isinstance(names, str):  # PEFT refuses a bare string
            raise ConfigError(
                f"adapter_names must be among {sorted(self.peft_config)}, got {unknown}."
            )

    @torch.no_grad()
    def add_weighted_adapter(
        self, adapters: Sequence[str], weights: Sequence[float], adapter_name: str
    ) -> None:
        """Add the mixture z' = Σ_k a_k z_k (Transformer², §3.2) as a frozen adapter.

        Args:
            adapters: names of adapters that are here, on the same modules.
            weights: a_k, one for each; not normalised.
            adapter_name: a new name.

        Raises:
            ConfigError: an unknown adapter, another number of weights, a name that is taken, or
                adapters of different modules.
        """
        self._check_known(list(adapters))
        if adapter_name in self.peft_config or len(adapters) != len(weights) or not adapters:
            raise ConfigError(
                "a mixture needs a new name, and one weight for each of its adapters; got "
                f"{adapter_name!r}, {list(adapters)} and {list(weights)}."
            )
        layers = [m for m in self.model.modules() if isinstance(m, SvfLinear)]
        layers = [layer for layer in layers if any(name in layer.svf_z for name in adapters)]
        if not all(name in layer.svf_z for layer in layers for name in adapters):
            raise ConfigError(f"adapters to mix must be of the same modules, {adapters} are not.")
        first = self.peft_config[adapters[0]]
        self.peft_config[adapter_name] = replace(
            first, parametrisation="direct", inference_mode=True
        )
        self.inject_adapter(self.model, adapter_name)
        for layer in layers:
            each = [layer.multiplier([name]) for name in adapters]
            mixed_R = sum(a * z_R for a, z_R in zip(weights, each, strict=True) if z_R is not None)
            layer.svf_z[adapter_name].copy_(mixed_R)
            layer.svf_z[adapter_name].requires_grad_(False)
