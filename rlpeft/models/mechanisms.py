"""What a base model does beside plain attention and a plain head, read from its config.

The learner computes attention over groups (`rlpeft.training.group_attention`) and log-probs from
hidden states itself, so it must know of every window, cap and scale. They are decided here, from
the config and before any weight is read: expressed, or refused with one line. `LOGIT_FIELDS`,
`WINDOW_FIELDS` and `HARMLESS` are the tables to extend for another architecture, together with a
row in `tests/test_architectures.py`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlpeft.errors import ModelError

ATTENTION_CAP = "attn_logit_softcapping"
"""Scores s become cap · tanh(s / cap) before the mask (Gemma 2)."""

LOGIT_FIELDS: Mapping[str, Literal["multiply", "divide", "cap"]] = {
    "logit_scale": "multiply",  # Cohere
    "lm_head_multiplier": "multiply",  # Falcon-H1
    "logits_scaling": "divide",  # Granite, MiniCPM3
    "final_logit_softcapping": "cap",  # Gemma 2, 3, 3n, VaultGemma, NanoChat
}
"""Config fields that change logits, and how."""

MULTIPLIED_LOGITS = frozenset({"hyperclovax"})
"""Model types that multiply by `logits_scaling`, where all others divide."""

WINDOW_FIELDS = frozenset(
    {
        "sliding_window",
        "layer_types",
        # These three only decide `sliding_window` and `layer_types`, inside transformers' configs.
        "use_sliding_window",
        "max_window_layers",
        "sliding_window_pattern",
    }
)

LAYER_TYPES = ("full_attention", "sliding_attention")
"""Entries of `layer_types` that can be expressed."""

REACH = re.compile(
    r"window|chunk|soft_?cap|logit_(cap|scale)|logits_|sinks?$|index_|indexer|local_(?!experts)"
    r"|alibi|mamba|ssm|conv|linear_|recurrent|bidirectional|prefix|ngram|mem_blocks|state_size"
    r"|blocks?_types?$|lm_head_mult|is_encoder"
)
"""Names of fields that may change who sees whom, or the logits."""

HARMLESS = frozenset(
    {
        "chunk_size_feed_forward",
        "num_logits_to_keep",
        "output_router_logits",
        "moe_router_logit_softcapping",  # of routers, inside the layer
        "prefix_dense_intermediate_size",
        "prefix_dense_sliding_window_pattern",  # only decides `layer_types`
        "logits_to_keep",
    }
)
"""Fields that `REACH` matches and that do neither."""


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """What a base model does beside plain attention and a plain head.

    Attributes:
        windows: of each layer, how many tokens a token sees, itself included; `None`: all.
        attention_cap: bound of attention scores.
        logit_scale: logits are multiplied by it, before their cap.
        logit_cap: bound of logits.
    """

    windows: tuple[int | None, ...]
    attention_cap: float | None = None
    logit_scale: float = 1.0
    logit_cap: float | None = None

    def describe(self) -> str:
        """In words, for the doctor.

        >>> Mechanisms((4, None, 4)).describe()
        '2 of 3 layers see 4 tokens back, the others all; plain logits'
        """
        sizes = sorted({window for window in self.windows if window is not None})
        count = sum(window is not None for window in self.windows)
        seen = "every layer sees all tokens"
        if sizes:
            others = ", the others all" if count < len(self.windows) else ""
            back = " or ".join(map(str, sizes))
            seen = f"{count} of {len(self.windows)} layers see {back} tokens back{others}"
        if self.attention_cap is not None:
            seen += f", scores capped at {self.attention_cap:g}"
        logits = [f"times {self.logit_scale:g}"] if self.logit_scale != 1 else []
        logits += [f"capped at {self.logit_cap:g}"] if self.logit_cap is not None else []
        return f"{seen}; {'logits ' + ', '.join(logits) if logits else 'plain logits'}"


def read_mechanisms(config: Any) -> Mechanisms:
    """Read them from the config of a transformers model.

    Raises:
        ModelError: the config asks for something that the learner cannot express.
    """
    text = config.get_text_config()
    fields: dict[str, Any] = text.to_dict()
    known = WINDOW_FIELDS | HARMLESS | LOGIT_FIELDS.keys() | {ATTENTION_CAP}
    for name, value in fields.items():
        if REACH.search(name) and name.lstrip("_") not in known and value:
            raise _refusal(text, name, value)
    scale, cap = _logits(text, fields)
    return Mechanisms(_windows(text, fields), _number(text, fields, ATTENTION_CAP), scale, cap)


def check_window_is_read(model: Any) -> None:
    """Refuse a window that stands in a model's config and that its architecture never reads.

    transformers drops keys from the cache of any model whose config names a window, whether its
    layers mask them or not: generation would see less than the model's own pass does.

    Raises:
        ModelError: no class of the model's comes from a file that speaks of `sliding_window`.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    if not window or not slides:
        return
    files = {type(module).__module__ for module in model.modules()}
    if not any("sliding_window" in inspect.getsource(sys.modules[name]) for name in files):
        raise ModelError(
            f"a base model must do what its config says, but sliding_window = {window!r} stands in "
            f"the config of {type(model).__name__}, which has no windows. Take the line out of its "
            "config.json, or name the model_type that reads it."
        )


def _windows(config: Any, fields: Mapping[str, Any]) -> tuple[int | None, ...]:
    """As transformers' own `create_masks_for_generate` reads a config."""
    count = int(config.num_hidden_layers)
    types = fields.get("layer_types")
    window = fields.get("sliding_window")
    if types is None:
        types = ["full_attention" if window is None else "sliding_attention"] * count
    for kind in types:
        if kind not in LAYER_TYPES:
            raise _refusal(config, "layer_types", kind)
    if len(types) != count:
        raise ModelError(
            f"config.layer_types must name a type for each of the {count} layers, it names "
            f"{len(types)}. Correct the model's config.json."
        )
    sliding = "sliding_attention" in types
    if sliding and (not isinstance(window, int) or isinstance(window, bool) or window < 1):
        raise ModelError(
            f"config.sliding_window must be a positive number of tokens where layers slide, got "
            f"{window!r}. Correct the model's config.json."
        )
    return tuple(window if kind == "sliding_attention" else None for kind in types)


def _logits(config: Any, fields: Mapping[str, Any]) -> tuple[float, float | None]:
    scale, cap = 1.0, None
    for name, how in LOGIT_FIELDS.items():
        value = _number(config, fields, name)
        if value is None:
            continue
        if how == "cap":
            cap = value
        elif how == "multiply" or config.model_type in MULTIPLIED_LOGITS:
            scale *= value
        else:
            scale /= value
    return scale, cap


def _number(config: Any, fields: Mapping[str, Any], name: str) -> float | None:
    # MiniCPM3 has a property, which is no field.
    value = fields.get(name, getattr(config, name, None))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise _refusal(config, name, value)
    return float(value)


def _refusal(config: Any, name: str, value: Any) -> ModelError:
    return ModelError(
        f"the learner must understand how the base model attends and makes its logits; it does "
        f"not know {name} = {value!r} of model type {config.model_type!r}. Take another base "
        "model for training."
    )
