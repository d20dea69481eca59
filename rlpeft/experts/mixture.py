"""Experts of one base, mixed: z' = Σ_k a_k z_k on the multiplier (Transformer², arXiv 2501.06252,
§3.2, "few-shot adaptation").

The base model is always one of them, as z = 1: "none of these" must have an answer. What the
vectors of another method are, its record says (`rlpeft.adapters.method.Mixing`).

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
from rlpeft.adapters.method import Method, Mixing
from rlpeft.adapters.methods import (
    METHODS,
    labels,
    method_of,
    mixed_section,
    named,
    peft_type_of,
)
from rlpeft.errors import ExpertError
from rlpeft.experts.card_parts import BASE, Mixture
from rlpeft.experts.files import (
    Expert,
    ExpertCard,
    adapter_of,
    load_expert,
    save_expert,
)
from rlpeft.experts.names import require_own_names
from rlpeft.models.base import BaseModel
from rlpeft.recipe.run import AdapterConfig

DIRECT = {"parametrisation": "direct"}
"""What a mixture is, whatever its experts were trained as: of their multipliers, not of logits."""

SMALLEST_SUM = 1e-6
"""Coefficients are divided by their sum; below this it is rounding."""


@dataclass(frozen=True)
class ExpertSet:
    """Experts of one method that may be mixed, the base first.

    Attributes:
        names: of the experts; `names[0]` is `BASE`.
        cards: of all but the base.
        method: of all of them.
        config: their PEFT config, under the options of mixtures (SVF: `direct`).
        vectors: tensor name -> z [K, R] fp32; row 0 is the base's.
        factors: module -> digest of its factors; empty if no engine needs it.
    """

    names: tuple[str, ...]
    cards: tuple[ExpertCard, ...]
    method: Method
    config: Mapping[str, Any]
    vectors: Mapping[str, torch.Tensor]
    factors: Mapping[str, str]

    @classmethod
    def of(cls, experts: Mapping[str, Expert], factors: Mapping[str, str] | None = None) -> Self:
        """Check that experts go together.

        Args:
            experts: by the names they shall have.
            factors: module -> digest of its factors (`AdapterState.factors`); needed for SVF's
                `sigmoid_renorm`, whose multiplier depends on the singular values.

        Raises:
            ExpertError: no expert, a reserved name, one that cannot be mixed, or two that differ
                in base model, method, its options or modules.
        """
        method, mixing = _check(experts)
        first, factors = next(iter(experts.values())), factors or {}

        def stacked(name: str) -> torch.Tensor:
            module = module_of(name, method.tensor)
            base_R = torch.full((len(first.tensors[name]),), mixing.base)
            digest = factors.get(module, "")
            each = [
                mixing.vector(e.config, e.tensors[name], module, digest) for e in experts.values()
            ]
            return torch.stack([base_R, *each])

        vectors = {name: stacked(name) for name in sorted(first.tensors)}
        cards = tuple(expert.card for expert in experts.values())
        config = {**first.config, **mixing.options}
        return cls((BASE, *experts), cards, method, config, vectors, factors)

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
        require_own_names(folders)
        experts = [load_expert(folder, base_digest=base_digest) for folder in folders]
        return cls.of({expert.card.name: expert for expert in experts}, factors)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def named_cards(self) -> dict[str, ExpertCard]:
        """Name -> card, the base left out."""
        return dict(zip(self.names[1:], self.cards, strict=True))

    @property
    def num_matrices(self) -> int:
        """M."""
        return len(self.vectors)

    @property
    def matrices(self) -> tuple[str, ...]:
        """The adapted modules, in the order of a coefficient's second axis."""
        return tuple(module_of(name, self.method.tensor) for name in self.vectors)

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

    def shares(self, coefficients: npt.ArrayLike, *, normalise: bool) -> dict[str, float]:
        """What each expert counts for in `mix`, which takes the same: the mean over matrices."""
        means_K = self._coefficients(coefficients, normalise).mean(1)
        return dict(zip(self.names, means_K.tolist(), strict=True))

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
            merged=first.merged,
            base_digest=first.base_digest,
            quantisation=first.quantisation,
            adapter=mixed_section(first.adapter),
            step=0,
            digest=state.digest,
            mixture=mixture,
            **card,
        )
        save_expert(folder, state, written)
        return written

    @cached_property
    def _items(self) -> list[tuple[str, torch.Tensor]]:
        return list(self.vectors.items())

    def _state(self, tensors: Mapping[str, torch.Tensor]) -> AdapterState:
        return AdapterState(self.config, tensors, 0, self.factors)

    def _coefficients(self, given: npt.ArrayLike, normalise: bool) -> npt.NDArray[np.float64]:
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


def mixed_adapter(card: ExpertCard) -> AdapterConfig:
    """The `[adapter]` section of engines that run such experts and mixtures of them.

    Raises:
        ExpertError: the card holds no known adapter.
    """
    return adapter_of(card.model_copy(update={"adapter": mixed_section(card.adapter)}))


def read_factors(folder: Path, base: BaseModel, dtype: str) -> dict[str, str]:
    """Module -> digest of its factors, of the modules that an expert moves; none if it needs none.

    Args:
        dtype: that the base model computes in.

    Raises:
        ExpertError: an unreadable folder, or an expert of another base model.
        ModelError: the base model has no such module.
    """
    expert = load_expert(folder, base_digest=base.digest)
    method = method_of(expert.config)
    if method is None:
        return {}
    moved = [module_of(name, method.tensor) for name in sorted(expert.tensors)]
    return method.base_factors(base, moved, dtype, expert.config)


def check_mixable(card: ExpertCard) -> None:
    """Refuse an expert that cannot be mixed, by its card alone.

    Raises:
        ExpertError: its method has no mixtures.
    """
    name = str(card.adapter.get("type", "svf"))
    _mixable(card.name, named(name) if name in METHODS else None, name)


def _mixable(name: str, method: Method | None, said: str) -> tuple[Method, Mixing]:
    if method is None or method.mixing is None:
        mixable = labels(lambda other: other.mixing)
        raise ExpertError(f"only {mixable} experts can be mixed, {name!r} is {said.upper()}.")
    return method, method.mixing


def _check(experts: Mapping[str, Expert]) -> tuple[Method, Mixing]:
    """The method of experts that go together."""
    if not experts:
        raise ExpertError("there must be at least one expert to mix, got none.")
    if BASE in experts:
        raise ExpertError(f"{BASE!r} names the base model; give that expert another name.")
    found = [
        _mixable(name, method_of(expert.config), peft_type_of(expert.config))
        for name, expert in experts.items()
    ]
    (first_name, first), *others = experts.items()
    for name, other in others:
        for what, (ours, theirs) in _differences(first, other, *found[0]).items():
            raise ExpertError(
                f"experts to mix must have the same {what}: {first_name!r} has {ours}, {name!r} "
                f"has {theirs}. Leave one out."
            )
    return found[0]


def _differences(
    one: Expert, other: Expert, method: Method, mixing: Mixing
) -> dict[str, tuple[str, str]]:
    """What two experts must share and do not: what each has."""
    modules, others = _shapes(one), _shapes(other)
    odd = sorted(n for n in modules | others if modules.get(n) != others.get(n))
    facts = {
        "base model": [f"sha256:{e.card.base_digest[:12]}…" for e in (one, other)],
        "method": [peft_type_of(e.config) for e in (one, other)],
        **{
            option: [str({**method.defaults, **e.config}.get(option)) for e in (one, other)]
            for option in mixing.same
        },
        "modules": [
            f"{module_of(n, method.tensor)} {m.get(n, 'not')}"
            for m in (modules, others)
            for n in odd[:1]
        ],
    }
    return {what: (pair[0], pair[1]) for what, pair in facts.items() if len({*pair}) == 2}


def _shapes(expert: Expert) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in expert.tensors.items()}
