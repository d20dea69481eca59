"""Random token sequences on which two models that shall be one policy must agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rlpeft.models.load import context_length

PROBE_ROWS, PROBE_TOKENS = 4, 32
"""How many sequences, and of how many tokens at most."""


def probe_rows(config: Any) -> list[list[int]]:
    """Seeded random token ids: no text suits every tokenizer."""
    length = min(PROBE_TOKENS, context_length(config))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(
        0, int(config.get_text_config().vocab_size), (PROBE_ROWS, length), generator=generator
    )
    return ids.tolist()


@torch.no_grad()
def logprobs(model: Any, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-prob (temperature 1, fp32) of each token after the first; rows of one length."""
    ids_BT = torch.tensor(rows, device=model.device)
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1].float()
    log_pi_BTV = torch.log_softmax(logits_BTV, -1)
    return log_pi_BTV.gather(-1, ids_BT[:, 1:, None]).squeeze(-1).tolist()
