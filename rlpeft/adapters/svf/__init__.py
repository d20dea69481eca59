"""Singular-value fine-tuning (Transformer², arXiv 2501.06252) as a PEFT method."""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType, register_peft_method

from rlpeft.adapters.register import add_peft_type

add_peft_type("svf")

from rlpeft.adapters.svf.config import SvfConfig  # noqa: E402  PeftType.SVF must exist first
from rlpeft.adapters.svf.layer import SvfLinear  # noqa: E402
from rlpeft.adapters.svf.model import SvfModel  # noqa: E402

if PeftType.SVF not in PEFT_TYPE_TO_TUNER_MAPPING:
    register_peft_method(name="svf", config_cls=SvfConfig, model_cls=SvfModel)

__all__ = ["SvfConfig", "SvfLinear", "SvfModel"]
