"""Singular-value factors of base weights: computed once, cached on disk, shared by everyone.

Near-equal singular values leave U and V ambiguous, so a trainer and an engine that each
decompose the same weight may disagree. Both must read the same factors: they are cached under
the digest of the weight and of the way it was decomposed, and a policy update names the digests
it was trained with.

Of W = U diag(s) Vᵀ only the *square* factor is kept (U where M <= N, else V): with it
W' = U diag(z) Uᵀ W, or W V diag(z) Vᵀ, needs nothing else.

M out_features, N in_features, R = min(M, N).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlpeft.adapters.linear import base_weights
from rlpeft.adapters.svf.decompose import DECOMPOSITIONS
from rlpeft.adapters.svf.pace import paced
from rlpeft.errors import ModelError
from rlpeft.files import replacing
from rlpeft.models.base import BaseModel
from rlpeft.recipe.adapter import Decomposition

FORMATS = {"svd": "1", "gram": "2"}
"""Part of the cache key, by decomposition: bases of one weight that came about differently are not
the same basis. Raise one when the meaning of its cached tensors changes."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What SVF needs of one weight.

    Attributes:
        basis: [R, R] fp32, orthogonal: left singular vectors in columns if `output_side`,
            else right singular vectors.
        singular_values: [R] fp32, descending.
        output_side: whether the basis acts on the output (M <= N) or on the input (M > N).
        digest: of the weight they belong to, and of its decomposition.
    """

    basis: torch.Tensor
    singular_values: torch.Tensor
    output_side: bool
    digest: str


def default_cache() -> Path:
    """The user's cache folder for factors."""
    return platformdirs.user_cache_path("rlpeft") / "factors"


def weight_digest(weight_MN: torch.Tensor, decomposition: Decomposition) -> str:
    """SHA-256 (hex) of shape and fp32 bytes: the same for a bf16 weight and its fp32 copy."""
    weight_MN = weight_MN.detach().to("cpu", torch.float32).contiguous()
    head = f"rlpeft factors {FORMATS[decomposition]} {tuple(weight_MN.shape)}"
    digest = hashlib.sha256(head.encode())
    digest.update(weight_MN.numpy().tobytes())
    return digest.hexdigest()


def factorise(
    weight_MN: torch.Tensor, decomposition: Decomposition, *, cache: Path | None = None
) -> Factors:
    """The factors of a weight, from the cache if they are there, else computed and cached.

    They are computed where the weight lies, and come on the CPU, as the cache's file maps them:
    processes of one machine that read the same factors hold them once.

    Raises:
        ModelError: the weight is not a finite matrix.
    """
    if weight_MN.ndim != 2:
        raise ModelError(f"SVF needs a matrix, got a weight of shape {tuple(weight_MN.shape)}.")
    digest = weight_digest(weight_MN, decomposition)
    cached = load_factors(digest, cache=cache)
    if cached is not None:
        return cached
    weight_MN = weight_MN.detach()
    if not torch.isfinite(weight_MN).all():
        raise ModelError("SVF needs finite weights, got NaN or infinity. Check the base model.")
    basis_RR, s_R = DECOMPOSITIONS[decomposition](weight_MN)
    output_side = weight_MN.shape[0] <= weight_MN.shape[1]
    factors = Factors(basis_RR.contiguous().cpu(), s_R.cpu(), output_side, digest)
    _store(factors, factors_path(digest, cache=cache))
    return load_factors(digest, cache=cache) or factors  # unless somebody has emptied the cache


def load_factors(digest: str, *, cache: Path | None = None) -> Factors | None:
    """Cached factors of the weight with this digest, or `None`.

    Raises:
        ModelError: the cache file is damaged.
    """
    path = factors_path(digest, cache=cache)
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        return Factors(
            tensors["basis"], tensors["singular_values"], bool(tensors["output_side"]), digest
        )
    except (SafetensorError, KeyError, OSError) as error:
        raise ModelError(
            f"cached factors {str(path)!r} must be readable, got {error}. Delete the file."
        ) from error


def warm_cache(
    weights: Iterable[torch.Tensor], decomposition: Decomposition, *, cache: Path | None = None
) -> int:
    """Decompose every weight that is not cached yet; what takes long tells how long.

    Returns:
        How many had to be computed.
    """
    weights = [
        w
        for w in weights
        if not factors_path(weight_digest(w, decomposition), cache=cache).exists()
    ]
    for weight_MN in paced(weights, "decomposing weights", cost=_cost):
        factorise(weight_MN, decomposition, cache=cache)
    return len(weights)


def shared_factors(
    base: BaseModel, modules: Sequence[str], dtype: str, decomposition: Decomposition
) -> dict[str, str]:
    """Module name -> digest of its factors, which are in the cache afterwards.

    Args:
        dtype: that the base model computes in.

    Raises:
        ModelError: the base model has no such module, or a weight of it is not finite.
    """
    weights = base_weights(base, modules, dtype)
    digests = {name: weight_digest(weight, decomposition) for name, weight in weights}
    missing = [name for name in modules if not factors_path(digests[name]).exists()]
    if missing:
        warm_cache((weight for _, weight in base_weights(base, missing, dtype)), decomposition)
    return {name: digests[name] for name in modules}


def _cost(weight_MN: torch.Tensor) -> float:
    """Multiply-adds, up to a factor: R² of each row of the longer side, and R³ ten times."""
    small, large = sorted(weight_MN.shape)
    return float(small**2 * (large + 10 * small))


def factors_path(digest: str, *, cache: Path | None = None) -> Path:
    """Where the factors of a digest are, or will be."""
    return (cache or default_cache()) / f"{digest}.safetensors"


def _store(factors: Factors, path: Path) -> None:
    tensors = {
        "basis": factors.basis,
        "singular_values": factors.singular_values,
        "output_side": torch.tensor(factors.output_side),
    }
    # Several processes may factorise one weight at once; the last one wins, whole.
    with replacing(path) as partial:
        save_file(tensors, partial)
