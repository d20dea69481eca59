"""One rollout of each step, token by token: small enough to be recorded, and enough to see all.

That of the largest advantage in the loss, either way, stands for its step: it moved most. Where an
environment has its say, one of those in which it had: only there is text that no loss reads.
What tokens say is recorded beside their ids, so that a run can be read without its tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rlpeft.tokens.pieces import pieces
from rlpeft.types import AdvantagedGroup

PART = pa.struct([("ids", pa.list_(pa.int64())), ("texts", pa.list_(pa.string()))])
TOKENS = pa.struct(
    [
        ("prompt", PART),
        ("sampled", PART),
        ("logprobs", pa.list_(pa.float32())),
        ("trained", pa.bool_()),
    ]
)
"""Ids and texts (`rlpeft.tokens.pieces`) of a prompt and of what was sampled after it; log-probs of
the latter under the distribution it was drawn from, null of what an environment said; whether it
was in the loss."""


def specimens(groups: Sequence[AdvantagedGroup], tokenizer: Any) -> list[dict[str, Any] | None]:
    """A `TOKENS` for the step's specimen, `None` for all other completions, in their order."""
    members = [
        (scored.group, done, trained, not all(done.own), abs(advantage))
        for scored in groups
        for done, trained, advantage in zip(
            scored.group.completions, scored.trained, scored.advantages, strict=True
        )
    ]
    chosen = max(range(len(members)), key=lambda row: members[row][2:])
    group, done, trained, *_ = members[chosen]
    tokens = {
        "prompt": _part(tokenizer, group.prompt_ids),
        "sampled": _part(tokenizer, done.token_ids),
        "logprobs": [p if own else None for p, own in zip(done.logprobs, done.own, strict=True)],
        "trained": trained,
    }
    return [tokens if row == chosen else None for row in range(len(members))]


def _part(tokenizer: Any, ids: Sequence[int]) -> dict[str, Any]:
    return {"ids": list(ids), "texts": [piece.text for piece in pieces(tokenizer, ids)]}
