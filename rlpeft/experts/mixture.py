"""Experts of one base, mixed: z' = Σ_k a_k z_k on the multiplier (Transformer², arXiv 2501.06252,
§3.2, "few-shot adaptation").

The base model is always one of them, as z = 1: "none of these" must have an answer. Multipliers
are mixed, never the logits of `sigmoid_renorm`: Σ a_k σ(p_k) is what the experts were trained as.

K expert, the base first; M matrix; R singular value of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from rlpeft.adapter_state import AdapterState, module_of
from rlpeft.adapters.svf.factors import load_factors
from rlpeft.adapters.svf.functional import multiplier
from rlpeft.errors import ExpertError
from rlpeft.experts.files import Expert, ExpertCard, Mixture, load_expert, save_expert

BASE = "base"
"""Name of the base model among experts."""

SMALLEST_SUM = 1e-6
"""Coefficients are divided by their sum; below this it is rounding."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpertSet:
    """SVF experts that may be mixed, the base first.

    Attributes:
        names: of the experts; `names[0]` is `BASE`.
        cards: of all but the base.
        config: their PEFT config, as `direct`.
        multipliers: tensor name -> z [K, R] fp32; row 0 is ones.
        factors: module -> digest of its factors; empty if no engine needs it.
    """

    names: tuple[str, ...]
    cards: tuple[ExpertCard, ...]
    config: Mapping[str, Any]
    multipliers: Mapping[str, torch.Tensor]
    factors: Mapping[str, str]

    @classmethod
    def of(cls, experts: Mapping[str, Expert], factors: Mapping[str, str] | None = None) -> Self:
        """Check that experts go together.

        Args:
            experts: by the names they shall have.
            factors: module -> digest of its factors (`rlpeft.adapters.policy.factor_digests`);
                needed for `sigmoid_renorm`, whose multiplier depends on the singular values.

        Raises:
            ExpertError: no expert, a reserved name, one that is not SVF, or two that differ in
                base model, parametrisation or modules.
        """
        _check(experts)
        first = next(iter(experts.values()))
        multipliers = {
            name: torch.stack(
                [torch.ones(len(first.tensors[name]))]
                + [_multiplier(name, expert, factors or {}) for expert in experts.values()]
            )
            for name in sorted(first.tensors)
        }
        config = {**first.config, "parametrisation": "direct"}
        cards = tuple(expert.card for expert in experts.values())
        return cls((BASE, *experts), cards, config, multipliers, factors or {})

    @classmethod
    def read(
        cls,
        folders: Sequence[Path],
        *,
        base_digest: str | None = None,
        factors: Mapping[str, str] | None = None,
    ) -> Self:
        """Read expert folders; each is named as on its card, which must be unique.

        Raises:
            ExpertError: as `of`, an unreadable folder, or one for another base model.
        """
        experts: dict[str, Expert] = {}
        for folder in folders:
            expert = load_expert(folder, base_digest=base_digest)
            name = expert.card.name
            if name in experts:
                raise ExpertError(
                    f"experts must have different names, two are called {name!r}, the second in "
                    f"{str(folder)!r}. Leave one out, or rename it on its card."
                )
            experts[name] = expert
        return cls.of(experts, factors)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_matrices(self) -> int:
        """M."""
        return len(self.multipliers)

    @property
    def matrices(self) -> tuple[str, ...]:
        """The adapted modules, in the order of a coefficient's second axis."""
        return tuple(module_of(name) for name in self.multipliers)

    def state(self, name: str) -> AdapterState:
        """One expert, or the base, alone.

        Raises:
            ExpertError: there is none of this name.
        """
        if name not in self.names:
            raise ExpertError(f"expert must be one of {', '.join(self.names)}, got {name!r}.")
        return self._state({key: z_KR[self.names.index(name)] for key, z_KR in self._items})

    def states(self) -> dict[str, AdapterState]:
        """Every expert by name, the base left out: what an engine is sent for all of them."""
        return {name: self.state(name) for name in self.names[1:]}

    def mix(self, coefficients: npt.ArrayLike, *, normalise: bool) -> AdapterState:
        """z' = Σ_k a_k z_k for every matrix.

        Args:
            coefficients: [K], or [K, M] for one set a matrix; a one-hot row gives that expert
                bit for bit.
            normalise: divide by Σ_k a_k.

        Raises:
            ExpertError: another shape, or coefficients that are not finite or sum to zero.
        """
        a_KM = self._coefficients(coefficients, normalise)
        mixed = {}
        for m, (key, z_KR) in enumerate(self._items):
            a_K = torch.tensor(a_KM[:, m])
            mixed[key] = (a_K[:, None] * z_KR.double()).sum(0).float()
        return self._state(mixed)

    def save(
        self,
        folder: Path,
        coefficients: npt.ArrayLike,
        *,
        normalise: bool,
        card: Mapping[str, Any],
        search: Mapping[str, Any] | None = None,
    ) -> ExpertCard:
        """Write a mixture as an ordinary expert folder.

        Args:
            card: fields of its `ExpertCard` that a mixture does not decide: name, task, rewards,
                seed, versions, and accuracies where they were measured.
            search: how the coefficients were found.
        """
        state = self.mix(coefficients, normalise=normalise)
        parents = {name: c.digest for name, c in zip(self.names[1:], self.cards, strict=True)}
        first = self.cards[0]
        mixture = Mixture(
            parents={BASE: first.base_digest} | parents,
            coefficients=np.asarray(coefficients, float).tolist(),
            matrices=self.matrices,
            normalise=normalise,
            search=dict(search or {}),
        )
        written = ExpertCard(
            base_model=first.base_model,
            base_digest=first.base_digest,
            adapter={**first.adapter, "parametrisation": "direct"},
            step=0,
            digest=state.digest,
            mixture=mixture,
            **card,
        )
        save_expert(folder, state, written)
        return written

    @cached_property
    def _items(self) -> list[tuple[str, torch.Tensor]]:
        return list(self.multipliers.items())

    def _state(self, tensors: Mapping[str, torch.Tensor]) -> AdapterState:
        return AdapterState(self.config, tensors, 0, self.factors)

    def _coefficients(self, given: npt.ArrayLike, normalise: bool) -> Array:
        a = np.asarray(given, float)
        if a.shape not in ((len(self),), (len(self), self.num_matrices)):
            raise ExpertError(
                f"coefficients must be [{len(self)}] for {', '.join(self.names)}, or "
                f"[{len(self)}, {self.num_matrices}] for one set a matrix, got {list(a.shape)}."
            )
        a_KM = np.broadcast_to(a if a.ndim == 2 else a[:, None], (len(self), self.num_matrices))
        sum_M = a_KM.sum(0)
        if not np.isfinite(sum_M).all() or (np.abs(sum_M) < SMALLEST_SUM).any():
            worst = sum_M[~np.isfinite(sum_M)] if not np.isfinite(sum_M).all() else sum_M
            raise ExpertError(
                "coefficients must be finite and must not sum to zero, which would leave no model "
                f"at all, got a sum of {float(worst[np.abs(worst).argmin()])!r}."
            )
        return a_KM / sum_M if normalise else a_KM


def _multiplier(tensor: str, expert: Expert, factors: Mapping[str, str]) -> torch.Tensor:
    parameter_R = expert.tensors[tensor]
    if expert.config["parametrisation"] == "direct":
        return parameter_R.float()
    found = load_factors(factors.get(module_of(tensor), ""))
    if found is None:
        raise ExpertError(
            f"mixing {expert.config['parametrisation']!r} experts needs the cached factors of "
            f"{module_of(tensor)!r}. Load the base model with this adapter once, and pass factors."
        )
    return multiplier(parameter_R, found.singular_values, expert.config["parametrisation"])


def require_svf(name: str, method: str) -> None:
    """Refuse an expert that is no vector of singular values.

    Raises:
        ExpertError: it is of another method.
    """
    if method.upper() != "SVF":
        raise ExpertError(f"only SVF experts can be mixed, {name!r} is {method.upper()}.")


def _check(experts: Mapping[str, Expert]) -> None:
    if not experts:
        raise ExpertError("there must be at least one expert to mix, got none.")
    if BASE in experts:
        raise ExpertError(f"{BASE!r} names the base model; give that expert another name.")
    for name, expert in experts.items():
        require_svf(name, str(expert.config.get("peft_type")).rpartition(".")[2])
    (first_name, first), *others = experts.items()
    for name, other in others:
        for what, (ours, theirs) in _differences(first, other).items():
            raise ExpertError(
                f"experts to mix must have the same {what}: {first_name!r} has {ours}, {name!r} "
                f"has {theirs}. Leave one out."
            )


def _differences(one: Expert, other: Expert) -> dict[str, tuple[str, str]]:
    """What two experts must share and do not: what each has."""
    modules, others = _shapes(one), _shapes(other)
    odd = sorted(n for n in modules | others if modules.get(n) != others.get(n))
    facts = {
        "base model": [f"sha256:{e.card.base_digest[:12]}…" for e in (one, other)],
        "parametrisation": [str(e.config["parametrisation"]) for e in (one, other)],
        "modules": [
            f"{module_of(n)} {m.get(n, 'not')}" for m in (modules, others) for n in odd[:1]
        ],
    }
    return {what: (pair[0], pair[1]) for what, pair in facts.items() if len({*pair}) == 2}


def _shapes(expert: Expert) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in expert.tensors.items()}
