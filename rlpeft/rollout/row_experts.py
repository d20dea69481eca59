"""Experts by row: every sequence of a batch runs the one it names.

SVF's factored and spectral forms take one multiplier a sequence (`rlpeft.adapters.svf.functional`),
so the users of many experts, or a whole population of mixtures, share one forward pass.

K expert, R singular value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from peft import PeftModel

from rlpeft.adapter_state import AdapterState, module_of, svf_tensor, tensors_digest
from rlpeft.adapters.svf import SvfLinear
from rlpeft.adapters.svf.functional import multiplier
from rlpeft.adapters.svf.layer import RowMultipliers
from rlpeft.errors import EngineError
from rlpeft.rollout.base import Delivery


class RowExperts:
    """The experts of an engine: every row of a batch runs the one it names.

    Args:
        policy: what rows without an expert run.

    Raises:
        EngineError: the policy is not SVF, or a state does not fit it.
    """

    def __init__(self, policy: PeftModel, experts: Mapping[str, AdapterState]) -> None:
        names = {m: n for n, m in policy.get_base_model().named_modules()}
        self.layers = {
            names[m]: m for m in policy.get_base_model().modules() if isinstance(m, SvfLinear)
        }
        self.index = {name: k for k, name in enumerate(experts, start=1)}
        started = time.perf_counter()
        held = {name: self._held(name, state) for name, state in experts.items()}
        self.multipliers = {
            name: torch.stack([self._multiplier(layer, held[e][name], experts[e]) for e in held])
            for name, layer in self.layers.items()
            if experts
        }
        seconds = time.perf_counter() - started
        self.deliveries = {
            name: Delivery(experts[name].version, _digest(tensors), seconds)
            for name, tensors in held.items()
        }

    def run(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Row b of every batch within it runs expert `names[b]`; it may be entered repeatedly."""
        if not any(names):
            return nullcontext()
        multipliers = {
            name: torch.cat([_own(layer)[None], self.multipliers[name]])
            for name, layer in self.layers.items()
        }
        rows = torch.tensor([self.index[name] if name else 0 for name in names])
        return RowMultipliers(self.layers, multipliers, rows)

    def _held(self, expert: str, state: AdapterState) -> dict[str, torch.Tensor]:
        shapes = {n: (min(m.in_features, m.out_features),) for n, m in self.layers.items()}
        sent = {module_of(key): value for key, value in state.tensors.items()}
        if not shapes or {name: tuple(value.shape) for name, value in sent.items()} != shapes:
            raise EngineError(
                f"expert {expert!r} must be SVF on the {len(shapes)} modules that this engine "
                f"adapts by SVF, it has {len(sent)} tensors that do not match them. Build the "
                "engine with the experts' adapter config."
            )
        device = next(iter(self.layers.values())).svf_s.device
        return {name: value.clone().to(device) for name, value in sent.items()}

    @staticmethod
    def _multiplier(layer: SvfLinear, z_R: torch.Tensor, state: AdapterState) -> torch.Tensor:
        return multiplier(z_R, layer.svf_s, str(state.config["parametrisation"]))


def _own(layer: SvfLinear) -> torch.Tensor:
    z_R = layer.multiplier()
    return torch.ones_like(layer.svf_s) if z_R is None else z_R


def _digest(held: Mapping[str, torch.Tensor]) -> str:
    return tensors_digest({svf_tensor(name): value for name, value in held.items()})
