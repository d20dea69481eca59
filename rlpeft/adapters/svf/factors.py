"""Singular-value factors of base weights: computed once, cached on disk, shared by everyone.

Near-equal singular values leave U and V ambiguous, so a trainer and an engine that each
decompose the same weight may disagree. Both must read the same factors: they are cached under
the digest of the weight, and a policy update names the digests it was trained with.

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
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlpeft.adapters.linear import base_weights
from rlpeft.errors import ModelError
from rlpeft.files import replacing
from rlpeft.models.base import BaseModel

FORMAT = "1"
"""Part of the cache key; raise it when the meaning of the cached tensors changes."""


@dataclass(frozen=True, slots=True)
class Factors:
    """What SVF needs of one weight.

    Attributes:
        basis: [R, R] fp32, orthogonal: left singular vectors in columns if `output_side`,
            else right singular vectors.
        singular_values: [R] fp32, descending.
        output_side: whether the basis acts on the output (M <= N) or on the input (M > N).
        digest: digest of the weight they belong to.
    """

    basis: torch.Tensor
    singular_values: torch.Tensor
    output_side: bool
    digest: str


def default_cache() -> Path:
    """The user's cache folder for factors."""
    return platformdirs.user_cache_path("rlpeft") / "factors"


def weight_digest(weight_MN: torch.Tensor) -> str:
    """SHA-256 (hex) of shape and fp32 bytes: the same for a bf16 weight and its fp32 copy."""
    weight_MN = weight_MN.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.sha256(f"rlpeft factors {FORMAT} {tuple(weight_MN.shape)}".encode())
    digest.update(weight_MN.numpy().tobytes())
    return digest.hexdigest()


def factorise(weight_MN: torch.Tensor, *, cache: Path | None = None) -> Factors:
    """The factors of a weight, from the cache if they are there, else computed and cached.

    Raises:
        ModelError: the weight is not a finite matrix.
    """
    if weight_MN.ndim != 2:
        raise ModelError(f"SVF needs a matrix, got a weight of shape {tuple(weight_MN.shape)}.")
    digest = weight_digest(weight_MN)
    cached = load_factors(digest, cache=cache)
    if cached is not None:
        return cached
    weight_MN = weight_MN.detach().to(torch.float32)
    if not torch.isfinite(weight_MN).all():
        raise ModelError("SVF needs finite weights, got NaN or infinity. Check the base model.")
    u_MR, s_R, vt_RN = torch.linalg.svd(weight_MN, full_matrices=False)
    output_side = weight_MN.shape[0] <= weight_MN.shape[1]
    basis_RR = (u_MR if output_side else vt_RN.T).contiguous().cpu()
    factors = Factors(basis_RR, s_R.cpu(), output_side, digest)
    _store(factors, cache or default_cache())
    return factors


def load_factors(digest: str, *, cache: Path | None = None) -> Factors | None:
    """Cached factors of the weight with this digest, or `None`.

    Raises:
        ModelError: the cache file is damaged.
    """
    path = _path(cache or default_cache(), digest)
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


def warm_cache(weights: Iterable[torch.Tensor], *, cache: Path | None = None) -> int:
    """Decompose every weight that is not cached yet, with a progress bar.

    Returns:
        How many had to be computed.
    """
    folder = cache or default_cache()
    missing = [w for w in weights if not _path(folder, weight_digest(w)).exists()]
    for weight_MN in track(missing, "decomposing weights", disable=len(missing) < 50):
        factorise(weight_MN, cache=cache)
    return len(missing)


def shared_factors(
    base: BaseModel, modules: Sequence[str], dtype: str = "float32"
) -> dict[str, str]:
    """Module name -> digest of its factors, which are in the cache afterwards.

    Args:
        dtype: that the base model computes in.

    Raises:
        ModelError: the base model has no such module, or a weight of it is not finite.
    """
    digests = {name: weight_digest(weight) for name, weight in base_weights(base, modules, dtype)}
    missing = [name for name in modules if not _path(default_cache(), digests[name]).exists()]
    if missing:
        warm_cache(weight for _, weight in base_weights(base, missing, dtype))
    return {name: digests[name] for name in modules}


def _path(cache: Path, digest: str) -> Path:
    return cache / f"{digest}.safetensors"


def _store(factors: Factors, cache: Path) -> None:
    tensors = {
        "basis": factors.basis,
        "singular_values": factors.singular_values,
        "output_side": torch.tensor(factors.output_side),
    }
    # Several processes may factorise one weight at once; the last one wins, whole.
    with replacing(_path(cache, factors.digest)) as partial:
        save_file(tensors, partial)
