"""HypLoRA as a PEFT tuner."""

from __future__ import annotations

from rlpeft.adapters.hyplora.layer import HypLoraLinear
from rlpeft.adapters.lowrank.model import LLAMA_LIKE, LowRankModel


class HypLoraModel(LowRankModel):
    """Wraps every targeted linear layer in a `HypLoraLinear`.

    >>> model = get_peft_model(base, HypLoraConfig(target_modules="all-linear"))  # doctest: +SKIP
    """

    prefix = "hyplora_"
    tuner_layer_cls = HypLoraLinear
    # The modules the authors' scripts adapt; all projections of other model types.
    target_module_mapping = {
        kind: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"] for kind in LLAMA_LIKE
    }
