"""Experts by row: every sequence of a batch runs the one it names.

SVF's factored and spectral forms take one multiplier a sequence (`rlpeft.adapters.svf.functional`),
so the users of many experts, or a whole population of mixtures, share one forward pass.

K expert, B row, S singular value of any layer: those of all layers side by side.
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
from rlpeft.rollout.engine import Delivery


class RowExperts:
    """The experts of an engine: every row of a batch runs the one it names.

    Args:
        policy: what rows without an expert run.

    Raises:
        EngineError: the policy is not SVF, or a state does not fit it.
    """

    def __init__(self, policy: PeftModel, experts: Mapping[str, AdapterState]) -> None:
        modules = policy.get_base_model().named_modules()
        self.layers = {name: m for name, m in modules if isinstance(m, SvfLinear)}
        self.singular_values = {name: layer.svf_s for name, layer in self.layers.items()}
        self.index = {name: k for k, name in enumerate(experts, start=1)}
        started = time.perf_counter()
        held = {name: self._held(name, state) for name, state in experts.items()}
        each = [self._multipliers(held[name], state) for name, state in experts.items()]
        self.multipliers_KS = torch.stack(each) if each else torch.empty(0)
        digests = [_digest(tensors) for tensors in held.values()]
        seconds = time.perf_counter() - started
        self.deliveries = {
            name: Delivery(state.version, digest, seconds)
            for (name, state), digest in zip(experts.items(), digests, strict=True)
        }

    def run(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Row b of every batch within it runs expert `names[b]`; it may be entered repeatedly."""
        if not any(names):
            return nullcontext()
        own_S = torch.cat([_own(layer) for layer in self.layers.values()])
        rows = [self.index[name] if name else 0 for name in names]
        table_KS = torch.cat([own_S[None], self.multipliers_KS])
        chosen = torch.tensor(rows, device=table_KS.device)
        # Six times faster on a CPU than indexing by a tensor.
        return RowMultipliers(list(self.layers.values()), table_KS.index_select(0, chosen))

    def _held(self, expert: str, state: AdapterState) -> dict[str, torch.Tensor]:
        sent = {module_of(key): value for key, value in state.tensors.items()}
        shapes = {name: s_R.shape for name, s_R in self.singular_values.items()}
        if not shapes or {name: z_R.shape for name, z_R in sent.items()} != shapes:
            raise EngineError(
                f"expert {expert!r} must be SVF on the {len(shapes)} modules that this engine "
                f"adapts by SVF, it has {len(sent)} tensors that do not match them. Build the "
                "engine with the experts' adapter config."
            )
        # A copy: whoever sent them may go on to change them.
        held_S = torch.cat([sent[name] for name in shapes])
        held_S = held_S.to(next(iter(self.singular_values.values())).device)
        sizes = [size for (size,) in shapes.values()]
        return dict(zip(shapes, held_S.split(sizes), strict=True))

    def _multipliers(self, held: Mapping[str, torch.Tensor], state: AdapterState) -> torch.Tensor:
        parametrisation = str(state.config["parametrisation"])
        return torch.cat(
            [multiplier(held[n], s_R, parametrisation) for n, s_R in self.singular_values.items()]
        )


def _own(layer: SvfLinear) -> torch.Tensor:
    z_R = layer.multiplier()
    return torch.ones_like(layer.svf_s) if z_R is None else z_R


def _digest(held: Mapping[str, torch.Tensor]) -> str:
    return tensors_digest({svf_tensor(name): value for name, value in held.items()})
