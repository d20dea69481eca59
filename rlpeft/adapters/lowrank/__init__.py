"""What every "LoRA with a multiplier between shrink and expand" shares; not a method of its own.

The update of a linear layer is Δ(x) = bend(A x) Bᵀ, where `bend` multiplies the R numbers of the
middle by per-token scalars. HypLoRA and MoSLoRA differ in their `bend` alone.
"""

from rlpeft.adapters.lowrank.config import LowRankConfig
from rlpeft.adapters.lowrank.export import export_approx
from rlpeft.adapters.lowrank.layer import LowRankLayer
from rlpeft.adapters.lowrank.model import LowRankModel

__all__ = ["LowRankConfig", "LowRankLayer", "LowRankModel", "export_approx"]
