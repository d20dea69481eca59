"""Where prompts and their completions stand among the tokens of a micro-batch, and who sees whom.

T token, P prompt, L longest prompt, S completion, C longest completion, K = L + C key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class Groups:
    """Where prompts and completions stand among T tokens; int64, indices padded with 0.

    Attributes:
        prompts_PL: the tokens of each prompt.
        completions_SC: the tokens of each completion.
        keys_SK: what a completion may see: its prompt, then itself.
        places_T: of each token, in the prompts' and then the completions' padded outputs.
        starts_S: the position of each completion's first token: the length of its prompt.
        prompt_T: of which prompt, counted from 0, a token is part or answer.
        member_T: of which of its completions, counted from 1; 0 in the prompt itself.
        position_T: in its sequence: a completion goes on from the end of its prompt.
    """

    prompts_PL: torch.Tensor
    completions_SC: torch.Tensor
    keys_SK: torch.Tensor
    places_T: torch.Tensor
    starts_S: torch.Tensor
    prompt_T: torch.Tensor
    member_T: torch.Tensor
    position_T: torch.Tensor

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, Sequence[int]]]) -> Groups:
        """From the length of each prompt and of its completions, in the order of the tokens."""
        lengths = [size for prompt, completions in sizes for size in (prompt, *completions)]
        spans = list(torch.arange(sum(lengths)).split(lengths))
        members = [at for _, completions in sizes for at in range(1 + len(completions))]
        prompts = [span for span, member in zip(spans, members, strict=True) if member == 0]
        completions = [span for span, member in zip(spans, members, strict=True) if member]
        owners = [p for p, (_, answers) in enumerate(sizes) for _ in answers]
        parts = [p for p, (_, answers) in enumerate(sizes) for _ in (None, *answers)]
        firsts = [first for size, answers in sizes for first in (0, *[size] * len(answers))]
        prompts_PL, valid_PL = _padded(prompts)
        completions_SC, valid_SC = _padded(completions)
        filled = torch.cat([valid_PL.flatten(), valid_SC.flatten()]).nonzero().flatten()
        places_T = torch.empty_like(filled)
        places_T[torch.cat(prompts + completions)] = filled
        counts = torch.tensor(lengths)
        return cls(
            prompts_PL,
            completions_SC,
            torch.cat([prompts_PL[owners], completions_SC], 1),
            places_T,
            torch.tensor([sizes[owner][0] for owner in owners]),
            torch.tensor(parts).repeat_interleave(counts),
            torch.tensor(members).repeat_interleave(counts),
            torch.cat(
                [
                    torch.arange(first, first + size)
                    for first, size in zip(firsts, lengths, strict=True)
                ]
            ),
        )

    def to(self, device: torch.device) -> Groups:
        """The same on another device."""
        return Groups(*(getattr(self, name).to(device) for name in self.__slots__))


def _padded(spans: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Spans one below the other, padded with 0, and which places hold one's own."""
    padded = pad_sequence(list(spans), batch_first=True)
    lengths = torch.tensor([len(span) for span in spans])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


@dataclass(frozen=True, slots=True)
class Masks:
    """Who sees whom in padded prompts and completions.

    Attributes:
        mask_S1CK: bool [S, 1, C, K]; padding sees itself, since a softmax over nothing would be
            NaN.
        prompt_mask_LL: bool; `None`: causal.
    """

    mask_S1CK: torch.Tensor
    prompt_mask_LL: torch.Tensor | None

    @classmethod
    def of(cls, groups: Groups, window: int | None = None) -> Masks:
        """On the groups' device.

        Args:
            window: tokens that a token sees, itself included; `None`: all.
        """
        num_prompt, num_tokens = groups.prompts_PL.shape[1], groups.completions_SC.shape[1]
        starts_S, device = groups.starts_S, groups.starts_S.device
        at_L = torch.arange(num_prompt, device=device)
        at_C = torch.arange(num_tokens, device=device)
        prompt_SCL = (at_L < starts_S[:, None])[:, None].expand(-1, num_tokens, -1)
        back_SCC = (at_C[:, None] - at_C).expand(len(starts_S), -1, -1)
        mask_SCK = torch.cat([prompt_SCL, back_SCC >= 0], -1)
        if window is None or window >= num_prompt + num_tokens:
            return cls(mask_SCK[:, None], None)
        back_LL = at_L[:, None] - at_L
        back_SCL = (starts_S[:, None] + at_C)[..., None] - at_L
        near_SCK = torch.cat([back_SCL, back_SCC], -1) < window
        return cls((mask_SCK & near_SCK)[:, None], (back_LL >= 0) & (back_LL < window))
