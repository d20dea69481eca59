"""Mixture-of-Space MoSLoRA (arXiv 2602.14490) as a PEFT method.

Not the older Mixture-of-Subspaces LoRA of the same short name (arXiv 2406.11909), which is
mergeable and unrelated.
"""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from rlpeft.adapters.register import add_peft_type

add_peft_type("moslora")

from rlpeft.adapters.moslora.config import MoSLoraConfig  # noqa: E402  the PeftType comes first
from rlpeft.adapters.moslora.layer import MoSLoraLinear  # noqa: E402
from rlpeft.adapters.moslora.model import MoSLoraModel  # noqa: E402
from rlpeft.adapters.moslora.spaces import SPACES, Space  # noqa: E402

if PeftType.MOSLORA not in PEFT_TYPE_TO_TUNER_MAPPING:
    register_peft_method(name="moslora", config_cls=MoSLoraConfig, model_cls=MoSLoraModel)

__all__ = ["SPACES", "MoSLoraConfig", "MoSLoraLinear", "MoSLoraModel", "Space"]
