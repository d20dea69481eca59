"""The `[learner]` section of a recipe; the string under each field is its documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlpeft.recipe.adapter import Section

Beta = Annotated[float, Field(ge=0, lt=1)]


class LearnerConfig(Section):
    """The optimizer step."""

    lr: Annotated[float, Field(gt=0)] = 1e-2
    """Peak learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's betas."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Linear warm-up."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After warm-up; cosine reaches zero at the last step."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Global gradient norm is clipped to this."""
    token_budget: Annotated[int, Field(ge=1)] = 8192
    """Tokens in one micro-batch; the gradient does not depend on it, MoSLoRA's balance aside."""
    logit_chunk: Annotated[int, Field(ge=1)] = 1024
    """Completion tokens whose full logits exist at once."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""
    parallel: Literal["replicate", "shard"] = "replicate"
    """What each of several resources.learners holds. `replicate`: the whole model. `shard`: its
    part of base weights and bases (FSDP2), for models that are too large for one device."""
