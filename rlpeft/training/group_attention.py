"""Attention over completions that share a prompt: each sees the prompt and itself.

The tokens of a micro-batch stand one after another, without padding: prompt, its completions, the
next prompt, … One mask over all of them would cost (P + G C)² scores for a group of G completions
of C tokens to a prompt of P; here it is P² + G C (P + C), as if each completion stood alone.

T token, P prompt, L longest prompt, S completion, C longest completion, K = L + C key,
H head, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlpeft.errors import ModelError
from rlpeft.models.mechanisms import Mechanisms

NAME = "rlpeft_groups"
"""Under which transformers knows it; without `groups` it is `sdpa`, with caps and sinks."""

UNDERSTOOD = frozenset({"dropout", "scaling", "sliding_window", "position_ids", "is_causal"})
"""What an attention layer may ask of its function, besides caps and sinks."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Where prompts and completions stand among T tokens; indices are int64, padded with 0.

    Attributes:
        prompts_PL: the tokens of each prompt.
        completions_SC: the tokens of each completion.
        keys_SK: what a completion may see: its prompt, then itself.
        mask_S1CK: bool [S, 1, C, K], who sees whom; padding sees itself, since a softmax over
            nothing would be NaN.
        places_T: of each token, in the prompts' and then the completions' padded outputs.
        starts_S: the position of each completion's first token: the length of its prompt.
        prompt_mask_LL: bool, who sees whom in prompts; `None`: causal.
    """

    prompts_PL: torch.Tensor
    completions_SC: torch.Tensor
    keys_SK: torch.Tensor
    mask_S1CK: torch.Tensor
    places_T: torch.Tensor
    starts_S: torch.Tensor
    prompt_mask_LL: torch.Tensor | None = None

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, Sequence[int]]]) -> Groups:
        """From the length of each prompt and of its completions, in the order of the tokens."""
        lengths = [size for prompt, completions in sizes for size in (prompt, *completions)]
        spans = list(torch.arange(sum(lengths)).split(lengths))
        is_prompt = [at == 0 for _, completions in sizes for at in range(1 + len(completions))]
        prompts = [span for span, first in zip(spans, is_prompt, strict=True) if first]
        completions = [span for span, first in zip(spans, is_prompt, strict=True) if not first]
        owners = [p for p, (_, members) in enumerate(sizes) for _ in members]
        prompts_PL, valid_PL = _padded(prompts)
        completions_SC, valid_SC = _padded(completions)
        num_tokens = completions_SC.shape[1]
        causal_CC = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
        prompt_SCL = valid_PL[owners][:, None].expand(-1, num_tokens, -1)
        mask_SCK = torch.cat([prompt_SCL, causal_CC.expand(len(owners), -1, -1)], -1)
        filled = torch.cat([valid_PL.flatten(), valid_SC.flatten()]).nonzero().flatten()
        places_T = torch.empty_like(filled)
        places_T[torch.cat(prompts + completions)] = filled
        keys_SK = torch.cat([prompts_PL[owners], completions_SC], 1)
        starts_S = torch.tensor([sizes[owner][0] for owner in owners])
        return cls(prompts_PL, completions_SC, keys_SK, mask_SCK[:, None], places_T, starts_S)

    def to(self, device: torch.device) -> Groups:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in self.__slots__[:-1]}
        mask_LL = self.prompt_mask_LL
        return Groups(**moved, prompt_mask_LL=None if mask_LL is None else mask_LL.to(device))

    def within(self, window: int | None) -> Groups:
        """The same where a token sees `window` tokens, itself included; `None`: all."""
        num_prompt, num_tokens = self.prompts_PL.shape[1], self.completions_SC.shape[1]
        if window is None or window >= num_prompt + num_tokens:
            return self
        at_L = torch.arange(num_prompt, device=self.starts_S.device)
        at_C = torch.arange(num_tokens, device=self.starts_S.device)
        back_LL = at_L[:, None] - at_L
        back_SCL = (self.starts_S[:, None] + at_C)[..., None] - at_L
        back_SCC = (at_C[:, None] - at_C).expand(len(self.starts_S), -1, -1)
        near_SCK = torch.cat([back_SCL, back_SCC], -1) < window
        return replace(
            self,
            mask_S1CK=self.mask_S1CK & near_SCK[:, None],
            prompt_mask_LL=(back_LL >= 0) & (back_LL < window),
        )


def _padded(spans: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = pad_sequence(list(spans), batch_first=True)
    lengths = torch.tensor([len(span) for span in spans])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


@dataclass(frozen=True, slots=True)
class LayerGroups:
    """Groups as every layer of a model sees them.

    Attributes:
        views: by window; layers with one window share their masks.
        served: the layers that have attended, in their order.
        unsaid: those with a window in their config, which they did not ask for.
    """

    mechanisms: Mechanisms
    views: Mapping[int | None, Groups]
    served: list[int] = field(default_factory=list)
    unsaid: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, groups: Groups, mechanisms: Mechanisms) -> LayerGroups:
        """Masks for each of the windows."""
        return cls(mechanisms, {w: groups.within(w) for w in set(mechanisms.windows)})

    def view(self, module: torch.nn.Module, asked: Mapping[str, Any]) -> Groups:
        """The groups as `module` sees them.

        Args:
            asked: the options that it gives its attention function.

        Raises:
            ModelError: it asks for something else than the config says, or for something unknown.
        """
        layer = getattr(module, "layer_idx", None)
        if not isinstance(layer, int) or not 0 <= layer < len(self.mechanisms.windows):
            raise _contradiction(module, "layer_idx", layer, "a layer of its config")
        window = self.mechanisms.windows[layer]
        expected = {"sliding_window": window, "softcap": self.mechanisms.attention_cap}
        for name, value in {"softcap": None, **asked}.items():
            if name in expected and value != expected[name]:
                raise _contradiction(module, name, value, f"{expected[name]!r}, as its config says")
            known = name in UNDERSTOOD or name in expected
            if not known and value is not None and value is not False:
                raise _contradiction(module, name, type(value).__name__, "no such option")
        causal = asked.get("is_causal", getattr(module, "is_causal", True))
        if causal is False:
            raise _contradiction(module, "is_causal", causal, "causal attention")
        self.served.append(layer)
        if window is not None and "sliding_window" not in asked:
            self.unsaid.append(layer)
        return self.views[window]


def _contradiction(module: torch.nn.Module, name: str, value: Any, expected: str) -> ModelError:
    return ModelError(
        f"the learner must understand what {type(module).__name__} attends to: expected "
        f"{expected}, got {name} = {value!r}. Take another base model for training."
    )


def group_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    groups: LayerGroups | None = None,
    s_aux: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers.

    Args:
        query, key, value: [1, H, T, D] (any batch without `groups`), as transformers gives them.
        groups: the layout of the T tokens; its masks stand for `attention_mask`.
        s_aux: [H] logits of sinks, which take a share of each softmax and give nothing.

    Returns:
        [1, T, H, D], and no weights.
    """
    if groups is None:
        return _attend(module, query, key, value, attention_mask, s_aux, options), None
    view = groups.view(module, options)
    q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (query, key, value))

    def attend(
        queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        q, k, v = (
            x[at].transpose(1, 2) for x, at in ((q_THD, queries), (k_THD, keys), (v_THD, keys))
        )
        return _attend(module, q, k, v, mask, s_aux, options).flatten(0, 1)

    # Right-padded: causal is enough for prompts without a window.
    prompt_out = attend(view.prompts_PL, view.prompts_PL, view.prompt_mask_LL)
    completion_out = attend(view.completions_SC, view.keys_SK, view.mask_S1CK)
    return torch.cat([prompt_out, completion_out])[view.places_T][None], None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    sinks_H: torch.Tensor | None,
    options: Mapping[str, Any],
) -> torch.Tensor:
    """[B, T, H, D]; caps and sinks, which `sdpa` would leave out without a word, by the formula."""
    cap = options.get("softcap")
    if cap is None and sinks_H is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    scores = query @ key.mT * scaling
    if cap is not None:  # before the mask: tanh would make -cap of -inf, which can be seen
        scores = cap * torch.tanh(scores / cap)
    # A single query is the newest token of a cache, and sees all of it.
    if mask is None and scores.shape[-2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # No row is -inf throughout, whose softmax would be NaN: every token sees itself.
        is_bool = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -torch.inf) if is_bool else scores + mask
    if sinks_H is not None:
        column = sinks_H.to(scores.dtype).reshape(1, -1, 1, 1)
        scores = torch.cat([scores, column.expand(*scores.shape[:-1], 1)], -1)
    # In fp32, as transformers' own eager attention does it. A sink has taken its share when its
    # column is cut off again.
    weights = torch.softmax(scores, -1, dtype=torch.float32)[..., : key.shape[-2]]
    weights = torch.dropout(weights.to(value.dtype), options.get("dropout", 0.0), module.training)
    return (weights @ value).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, group_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
