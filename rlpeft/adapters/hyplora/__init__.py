"""HypLoRA (hyperbolic low-rank adaptation, arXiv 2410.04010) as a PEFT method."""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from rlpeft.adapters.register import add_peft_type

add_peft_type("hyplora")

from rlpeft.adapters.hyplora.config import HypLoraConfig  # noqa: E402  the PeftType comes first
from rlpeft.adapters.hyplora.layer import HypLoraLinear  # noqa: E402
from rlpeft.adapters.hyplora.model import HypLoraModel  # noqa: E402

if PeftType.HYPLORA not in PEFT_TYPE_TO_TUNER_MAPPING:
    register_peft_method(name="hyplora", config_cls=HypLoraConfig, model_cls=HypLoraModel)

__all__ = ["HypLoraConfig", "HypLoraLinear", "HypLoraModel"]
