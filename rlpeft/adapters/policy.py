"""From a recipe to a policy: a frozen base model with one trainable PEFT adapter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from transformers.pytorch_utils import Conv1D

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.methods import method_of, named
from rlpeft.adapters.patterns import check_pattern
from rlpeft.adapters.targets import in_language_model, projections, target_modules, towers
from rlpeft.errors import ConfigError, ModelError
from rlpeft.recipe.adapter import ATTENTION_AND_MLP, AdapterConfig


def peft_config(adapter: AdapterConfig, base: torch.nn.Module) -> PeftConfig:
    """The PEFT config that a recipe's `[adapter]` section means.

    Args:
        base: the model, or its skeleton: it says which modules the default targets are.

    Raises:
        ModelError: the default targets cannot be found in it, or targets lie in a vision tower.
        ConfigError: the targets are an expression that takes too long to match.
    """
    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    if targets == ATTENTION_AND_MLP:
        targets = target_modules(base, projections(base))
    elif isinstance(targets, str):
        check_pattern(targets, [name for name, _ in base.named_modules()])
    layers = getattr(adapter, "layers", None)
    if towers(base):
        # PEFT knows no towers: of theirs it would adapt what has the same name or number.
        targets = target_modules(base, in_language_model(base, targets, layers))
        layers = None
    where: dict[str, Any] = {"target_modules": targets, "task_type": "CAUSAL_LM"}
    if layers is not None:
        where["layers_to_transform"] = list(layers)
    return named(adapter.type).config(adapter, base, where)


def attach_adapter(base: Any, adapter: AdapterConfig, *, seed: int) -> PeftModel:
    """Put a fresh adapter around a base model; the global random state is left as it was.

    Args:
        base: a `transformers` causal language model; it is modified in place, as by PEFT.
        seed: decides random initialisations (LoRA's A).

    Raises:
        ModelError: the targets match no linear layer, or nothing would be trained.
        ConfigError: the adapter does not fit a module (a rank too small for its experts).
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        try:
            policy = get_peft_model(base, peft_config(adapter, base))
        except (ConfigError, ModelError):  # they name their own cause, a rank too small say
            raise
        except ValueError as error:
            advice = named(adapter.type).advice
            raise ModelError(
                f"adapter.targets must match modules of the model: {error} "
                f"Linear layers here are named {', '.join(linear_names(base))}.{advice}"
            ) from error
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise ModelError("the adapter must have trainable parameters, it has none.")
    return policy


def adapted_modules(policy: PeftModel) -> list[str]:
    """Full names, as in the base model, of the layers that an adapter moves, in its order."""
    base = policy.get_base_model()
    return [name for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)]


def linear_names(model: torch.nn.Module) -> list[str]:
    """Last parts of the names of all linear layers, sorted."""
    kinds = torch.nn.Linear | Conv1D
    names = [n for n, module in model.named_modules() if isinstance(module, kinds)]
    return sorted({name.rpartition(".")[2] for name in names})


def adapter_state(policy: PeftModel, version: int, name: str = "default") -> AdapterState:
    """Copy one adapter out of a policy, ready to be sent."""
    tensors = adapter_tensors(policy, name)
    config = policy.peft_config[name].to_dict()
    plain, factors = {key: _plain(value) for key, value in config.items()}, _factors(policy, name)
    if factors:
        plain["factors"] = factors  # as they are now: the base may have got other weights
    return AdapterState(plain, tensors, version, factors)


def make_shardable(policy: PeftModel) -> None:
    """Have each layer of the adapter keep as parameters, which FSDP2 shards, all that is frozen."""
    method = method_of(vars(policy.active_peft_config))
    if method is not None:
        for module in policy.modules():
            method.make_shardable(module)


def _factors(policy: PeftModel, name: str) -> dict[str, str]:
    method = method_of(vars(policy.peft_config[name]))
    return {} if method is None else method.factors(policy)


def _plain(value: Any) -> Any:
    # A member of PEFT's enums could not be received where our methods are not registered yet.
    if isinstance(value, Enum):
        return value.value
    return sorted(value) if isinstance(value, set) else value


def adapter_tensors(policy: PeftModel, name: str = "default") -> dict[str, torch.Tensor]:
    """The adapter's tensors under PEFT's names, copied to the CPU."""
    state = get_peft_model_state_dict(policy, adapter_name=name, save_embedding_layers=False)
    return {key: value.detach().cpu().clone() for key, value in state.items()}


def load_tensors(policy: PeftModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors under PEFT's names, as of `adapter_tensors`, into the policy's adapter.

    Raises:
        ModelError: they are not those of the policy's adapter, each in its shape; nothing is
            changed then.
    """
    own = get_peft_model_state_dict(policy, save_embedding_layers=False)
    _check_same_tensors({name: tuple(tensor.shape) for name, tensor in own.items()}, tensors)
    set_peft_model_state_dict(policy, dict(tensors))


def _check_same_tensors(
    shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, torch.Tensor]
) -> None:
    advice = "Use the adapter config and the base model that it was made with."
    for name in sorted(tensors.keys() - shapes.keys()):
        raise ModelError(
            f"every adapter tensor must have a place in the model, {name!r} has none. {advice}"
        )
    for name in sorted(shapes.keys() - tensors.keys()):
        raise ModelError(f"every adapter tensor must be there, {name!r} is missing. {advice}")
    for name, shape in sorted(shapes.items()):
        if tensors[name].shape != shape:
            raise ModelError(
                f"adapter tensor {name!r} must be of shape {shape}, got "
                f"{tuple(tensors[name].shape)}. {advice}"
            )


@torch.no_grad()
def sequence_logprobs(policy: PeftModel, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-prob (temperature 1, fp32) of each token after the first, one unpadded row at a time.

    The learner and the `hf` engine answer the canary with it.
    """
    rows = []
    for sequence in sequences:
        # Padding and neighbours choose other kernels: both sides would round in ways of their own.
        ids = torch.tensor([list(sequence)], device=policy.device)
        logits_TV = policy(input_ids=ids, use_cache=False).logits[0, :-1].float()
        log_pi_TV = torch.log_softmax(logits_TV, -1)
        rows.append(log_pi_TV.gather(-1, ids[0, 1:, None]).squeeze(-1).tolist())
    return rows
