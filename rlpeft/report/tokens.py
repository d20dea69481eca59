"""A report's rollout token by token: what was prompt, what was sampled and how likely, the end.

Everything is of the ids that the engine was given and gave (`rlpeft.runs.specimen`); no text is
tokenised again. Colour is one way to read a log-prob: its number stands below each token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat
from typing import Any

from rlpeft.runs.records import TOKENS_COLUMN
from rlpeft.tokens.pieces import CONTROL_OPEN
from rlpeft.types import FinishReason

HEAD, TAIL = 600, 200
"""Tokens shown of a longer prompt or completion: its start, and its end."""

BOUNDS = (0.9, 0.5, 0.1, 0.01)
"""Probabilities from which on a token has the first, second, … colour; the last has the rest."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the page.

    Attributes:
        text: without its line ends, which end the line behind it.
        number: its log-prob, of a sampled one.
        hint: what is shown on hover.
        kind: classes of the style sheet.
    """

    text: str
    ends_line: bool
    number: str
    hint: str
    kind: str


@dataclass(frozen=True, slots=True)
class TokenView:
    """One rollout.

    Attributes:
        row: of the completions' table.
        prompt, sampled: their starts and, where they are long, their ends.
        left_out: tokens of each between the two.
        training: what became of the sampled ones.
        ending: what ended them.
        is_cut: whether a limit did.
    """

    row: Mapping[str, Any]
    prompt: tuple[Sequence[Token], int, Sequence[Token]]
    sampled: tuple[Sequence[Token], int, Sequence[Token]]
    training: str
    ending: str
    is_cut: bool


def token_view(rows: Iterable[Mapping[str, Any]]) -> TokenView | None:
    """The rollout of a step that was recorded token by token; `None` where none was."""
    row = next((row for row in rows if _is_recorded(row.get(TOKENS_COLUMN))), None)
    if row is None:
        return None
    found = row[TOKENS_COLUMN]
    trained, is_cut = bool(found.get("trained")), row["finish_reason"] == FinishReason.LENGTH
    role = "sampled, trained" if trained else "sampled, not trained"
    sampled = _tokens(found["sampled"], role, found["logprobs"])
    return TokenView(
        row,
        _middle_left_out(_tokens(found["prompt"], "prompt")),
        _middle_left_out(sampled),
        _training(row, trained, sum(p is not None for p in found["logprobs"])),
        _ending(row, sampled, is_cut=is_cut),
        is_cut,
    )


def legend() -> list[tuple[str, str, str]]:
    """Class, probabilities and log-probs of each colour."""
    edges = [1.0, *BOUNDS, 0.0]
    rows = []
    for place, (high, low) in enumerate(pairwise(edges)):
        percent = f"{100 * low:g} % to {100 * high:g} %" if low else f"below {100 * high:g} %"
        least = f"{number(math.log(low))} to {number(math.log(high))}" if low else ""
        rows.append((f"p{place}", percent, least or f"below {number(math.log(high))}"))
    return rows


def number(logprob: float) -> str:
    """A log-prob in few characters."""
    if not math.isfinite(logprob):
        return str(logprob).replace("-", MINUS)
    return "0" if abs(logprob) < 0.005 else f"{logprob:.2f}".replace("-", MINUS)


def _is_recorded(found: Any) -> bool:
    """Whether `rlpeft.runs.specimen` wrote it: files are damaged, and old ones hold else."""
    if not isinstance(found, Mapping):
        return False
    sampled: Any = found.get("sampled")
    logprobs: Any = found.get("logprobs")
    numbers: Any = float | None  # none of what an environment said
    if not (_is_part(found.get("prompt")) and _is_part(sampled) and _are(numbers, logprobs)):
        return False
    return len(logprobs) == len(sampled["ids"])


def _is_part(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    ids: Any = part.get("ids")
    texts: Any = part.get("texts")
    return _are(int, ids) and _are(str, texts) and len(ids) == len(texts)


def _are(kind: Any, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _tokens(part: Mapping[str, Any], role: str, logprobs: Iterable[Any] = ()) -> list[Token]:
    numbers = chain(logprobs, repeat(None))
    each = zip(part["ids"], part["texts"], numbers, strict=False)
    return [_token(id, text, logprob, role) for id, text, logprob in each]


def _token(id: int, text: str, logprob: float | None, role: str) -> Token:
    flat = text.replace("\n", "")
    kinds = ["prompt" if logprob is None else f"p{_place(logprob)}"]
    kinds += ["control"] if text.startswith(CONTROL_OPEN) else []
    if logprob is None and role != "prompt":
        role = "said by the environment, not trained"
    kinds += ["idle"] if role.endswith("not trained") else []
    hint = f"{flat or '(no text)'}   id {id}"
    if logprob is not None:
        share = f"{100 * math.exp(logprob):.3g} %" if logprob <= 0 else "?"
        hint += f"   log-prob {logprob:.4f}   probability {share}"
    shown = "" if logprob is None else number(logprob)
    return Token(flat, flat != text, shown, f"{hint}   {role}", " ".join(kinds))


def _place(logprob: float) -> int:
    # NaN is below every bound.
    return sum(not logprob >= math.log(bound) for bound in BOUNDS)


def _middle_left_out(tokens: Sequence[Token]) -> tuple[Sequence[Token], int, Sequence[Token]]:
    if len(tokens) <= HEAD + TAIL:
        return tokens, 0, ()
    return tokens[:HEAD], len(tokens) - HEAD - TAIL, tokens[-TAIL:]


def _training(row: Mapping[str, Any], trained: bool, count: int) -> str:
    if not trained:
        return f"{count:,} sampled tokens, left out of the loss (loss.mask_truncated)"
    in_turns = None in row[TOKENS_COLUMN]["logprobs"]
    of = "the conversations of several turns of this step" if in_turns else "this step"
    weight, how = row["advantage"], f", the largest of {of}"
    if not weight:
        how = ": only a KL to the base can move them"
    return f"{count:,} sampled tokens, all trained, with advantage {weight:+.3g}{how}"


def _ending(row: Mapping[str, Any], sampled: Sequence[Token], *, is_cut: bool) -> str:
    if is_cut:
        return "cut off by a limit (rollout.max_tokens, or the model's context): no end was sampled"
    last = sampled[-1] if sampled else None
    if last is not None and "control" in last.kind:
        return f"ended by {last.text}, which was sampled"
    return "ended by its last token: a stop string, or a token that ends a sequence"
