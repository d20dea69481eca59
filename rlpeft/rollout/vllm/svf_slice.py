"""Singular-value fine-tuning in a slice of a fused layer, whole or one worker's part of it.

Of the basis B of the whole slice a worker of W holds R/W rows or columns, B_w, and one sum over the
workers, Σ_w, is needed for each layer:

    q, k, v   output side   c = Σ_w B_wᵀ y_w,  then  y_w += B_w (c * (z - 1))          rows of B
    gate, up  input side    x += Σ_w B_w ((B_wᵀ x) * (z - 1)_w)                     columns of B
    o, down   output side   y = Σ_w y_w,  then  y_w = y / W + B_w ((B_wᵀ y) * (z - 1)_w)  columns
    o, down   input side    c = Σ_w B_wᵀ x_w,  then  x_w += B_w (c * (z - 1))          rows of B

of which vLLM adds up y_w in the end for o and down. T token, M out_features of the slice, N
in_features, R = min(M, N).
"""

from __future__ import annotations

import torch
from peft import PeftConfig

from rlpeft.adapters.svf.factors import Factors
from rlpeft.adapters.svf.functional import dense_weight, growth, multiplier, spectral_weight
from rlpeft.rollout.vllm.matmul import Pack, Product, Unasked, plain
from rlpeft.rollout.vllm.shard import Shard
from rlpeft.rollout.vllm.slice_adapters import Base, Form, TokenRows


class SvfSlice:
    """Singular-value fine-tuning (Transformer², arXiv 2501.06252, §3.1), z = 1 at first.

    The basis B is the trainer's, given by `take_factors`: one computed here could differ from it
    wherever singular values are nearly equal.

    Two forms. *Factored* changes the frozen weight's input or output, which at z = 1 leaves the
    base exactly as it is, at 4 R² FLOPs a token. *Spectral* lets the layer hold C = B⁻¹ W (output
    side) or W B⁻ᵀ in the place of W (`functional.spectral_weight`), and needs 2 R²:
    y = B(z * C x), or y = C(z * Bᵀ x). In bf16 the rounding of C would be another base model.

    Args:
        is_spectral: which of them, once the factors are here; factored where weights are split.
        shard: the part of the slice that `weight_MN` is; the whole if absent.
    """

    def __init__(
        self,
        weight_MN: torch.Tensor,
        *,
        parametrisation: str,
        pack: Pack = plain,
        is_spectral: bool = False,
        shard: Shard | None = None,
    ) -> None:
        self.shard = shard or Shard.whole(weight_MN)
        # Of the whole slice: the smaller side of a part may be the other one.
        device, rank = weight_MN.device, min(self.shard.shape)
        self.parametrisation, self.output_side = parametrisation, rank == self.shard.shape[0]
        # In spectral form x goes straight into the held matrix on the output side alone.
        self.bends_input = not self.output_side
        self.tensors = {"svf_z": torch.ones(rank, device=device)}
        # z where the weight is in singular coordinates, z - 1 where its change is added.
        self.offset = 0.0 if is_spectral else 1.0
        self.scale_R = torch.ones(rank, device=device) - self.offset
        # Until factors come: of the spectral form W itself, in the coordinates it has; of the
        # factored one no change, whatever z.
        blank_RR = torch.eye(rank) if is_spectral else torch.zeros(rank, rank)
        self.rank = rank
        self.features, self.coordinates = self._held()
        mine_FC = blank_RR[self.features, self.coordinates].contiguous()
        mine_FC = mine_FC.to(device, weight_MN.dtype)
        self.singular_values_R = torch.ones(rank, device=device)
        self.digest: str | None = None
        self.is_spectral = is_spectral
        self.token_rows: TokenRows | None = None
        # A packed product is as large as the basis, and the spectral form asks for one alone.
        self.asks_into = not (is_spectral and self.output_side)
        self.asks_back = not (is_spectral and self.bends_input)
        self.into: Product = (pack if self.asks_into else Unasked)(mine_FC.T)
        self.back: Product = (pack if self.asks_back else Unasked)(mine_FC)

    @property
    def basis_FC(self) -> torch.Tensor:
        """This worker's part of the basis: where products are packed, as the cache's file maps it.

        Whoever else has read that file on this machine, the learner before all, holds the same
        memory.
        """
        return self.back.weight_MN if self.asks_back else self.into.weight_MN.T

    def _held(self) -> tuple[slice, slice]:
        """Rows and columns of the basis that this worker needs."""
        shard, all_of_it = self.shard, slice(None)
        if self._splits_other_side:
            return all_of_it, shard.part(self.rank)
        return shard.rows if self.output_side else shard.columns, all_of_it

    @property
    def _splits_other_side(self) -> bool:
        """Whether workers share the side of the weight that the adapter does not act on."""
        return self.shard.splits_columns if self.output_side else self.shard.splits_rows

    @property
    def _splits_own_side(self) -> bool:
        return self.shard.splits_rows if self.output_side else self.shard.splits_columns

    def take_experts(self, slots: int, token_rows: TokenRows) -> None:
        """Let each token run the multiplier of its own slot."""
        self.scales_SR = self.scale_R.repeat(slots + 1, 1)
        self.scale_R = self.scales_SR[0]  # one buffer: a refresh writes the first row
        self.token_rows = token_rows

    def set_expert(self, slot: int, tensor: torch.Tensor | None) -> None:
        """Put an expert's trained vector into a slot, in place; without one, z = 1."""
        if tensor is None:
            self.scales_SR[slot + 1] = 1 - self.offset
            return
        z_R = multiplier(
            tensor.to(self.scale_R.device), self.singular_values_R, self.parametrisation
        )
        self.scales_SR[slot + 1] = z_R - self.offset

    def growth(self, tensor: torch.Tensor) -> float:
        """See `ServesExperts`; not finite where what was trained overflows."""
        values_R = self.singular_values_R
        z_R = multiplier(tensor.to(values_R.device), values_R, self.parametrisation)
        return growth(z_R)

    def take_factors(self, factors: Factors) -> None:
        """Use these factors from now on."""
        part_FC = factors.basis[self.features, self.coordinates]
        self.into.take(part_FC.T)
        self.back.take(part_FC)
        self.singular_values_R.copy_(factors.singular_values)
        self.digest = factors.digest

    def refresh(self) -> None:
        z_R = multiplier(self.tensors["svf_z"], self.singular_values_R, self.parametrisation)
        self.scale_R.copy_(z_R - self.offset)

    def in_coordinates(self, weight_MN: torch.Tensor) -> torch.Tensor:
        """C [M, N], what a spectral layer holds in the place of W; W itself until factors come."""
        if not self.is_spectral or self.digest is None:
            return weight_MN
        return spectral_weight(weight_MN, self._factors)

    def partial(self, x: torch.Tensor, base: Base) -> torch.Tensor | None:
        if self._splits_own_side:
            return self.into(base(x) if self.output_side else x) / self.shard.copies
        if self._splits_other_side:
            return base(x) if self.output_side else self._change(x) / self.shard.copies
        return None

    def apply(self, x: torch.Tensor, base: Base, total: torch.Tensor | None = None) -> torch.Tensor:
        if total is None and (partial := self.partial(x, base)) is not None:
            total = self.shard.add(partial)
        if not self.output_side:
            return base(self._bend(x, total))
        if self._splits_other_side:
            assert total is not None  # y; what is held of it may be overwritten by now
            return total / self.shard.count + self._change(total)
        return self._bend(base(x), total)

    def _bend(self, x: torch.Tensor, total: torch.Tensor | None) -> torch.Tensor:
        """What the adapter does to one side of the weight's product."""
        if self.is_spectral:
            scale = self._scale(len(x))
            return self.back(x * scale) if self.output_side else self.into(x).mul_(scale)
        if total is None:
            return x + self._change(x)
        return x + (total if self._splits_other_side else self._back(total))

    def _change(self, x: torch.Tensor) -> torch.Tensor:
        """`functional.rotate` with packed products, but for the x that is added."""
        return self._back(self.into(x))

    def _back(self, coordinates: torch.Tensor) -> torch.Tensor:
        bent = coordinates.float() * self._scale(len(coordinates))[..., self.coordinates]
        return self.back(bent.to(coordinates.dtype))

    def _scale(self, num_tokens: int) -> torch.Tensor:
        """[R], or [T, R] where each token has its own."""
        if self.token_rows is None:
            return self.scale_R
        # Six times faster on a CPU than indexing by a tensor.
        return self.scales_SR.index_select(0, self.token_rows(num_tokens))

    def bias(self, bias_M: torch.Tensor) -> torch.Tensor:
        return bias_M

    def dense(self, weight_MN: torch.Tensor) -> torch.Tensor:
        return dense_weight(weight_MN, self._factors, self.scale_R + self.offset)

    @property
    def _factors(self) -> Factors:
        return Factors(self.basis_FC, self.singular_values_R, self.output_side, self.digest or "")


def svf_slice(
    config: PeftConfig,
    name: str,
    weight_MN: torch.Tensor,
    *,
    pack: Pack,
    form: Form,
    shard: Shard | None = None,
) -> SvfSlice:
    """As `rlpeft.adapters.method.Slice.make`, for SVF."""
    return SvfSlice(
        weight_MN,
        parametrisation=config.parametrisation,
        pack=pack,
        is_spectral=form == "spectral",
        shard=shard,
    )
