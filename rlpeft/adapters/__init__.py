"""Adapters: one package per method, each a PEFT method in PEFT's own config / layer / model split.

Importing this package makes them known to PEFT, so that `PeftModel.from_pretrained` can load them.
"""

from rlpeft.adapters.hyplora import HypLoraConfig
from rlpeft.adapters.lowrank import export_approx
from rlpeft.adapters.moslora import MoSLoraConfig
from rlpeft.adapters.svf import SvfConfig

__all__ = ["HypLoraConfig", "MoSLoraConfig", "SvfConfig", "export_approx"]
