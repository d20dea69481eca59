"""Where the final answer of a completion stands. Linear in its length.

In this order: text after the thinking; an <answer> block; the last box; a marker ("####") or an
answer phrase; a completion that is nothing but an answer; a last sentence that states a value.
An empty, unclosed or placeholder last box is no answer, and never a reason to look elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rewards.completion.boxes import Span, final_run, find_boxes
from rewards.completion.regions import after_thinking, answer_block
from rewards.math.find.negations import is_denied
from rewards.math.find.phrases import (
    bare_answer,
    bare_words,
    find_phrases,
    stated_value,
    taken_back,
    without_denied,
)
from rewards.math.limits import MAX_SEARCHED
from rewards.math.read.normalise import single_backslashes

# The answer of a JSON object, its string or its number.
_FIELD = re.compile(
    r"[{,]\s*[\"'](?:final[_ ]?)?answer[\"']\s*:\s*"
    r"(?:(?P<string>\"(?:[^\"\\\n]|\\.){1,400}\")|(?P<number>[-+.0-9eE/]{1,80}))(?=\s*[,}])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a completion claims in the end: every one of `claims` has to match the gold answer."""

    claims: tuple[str, ...]
    missing: str = ""
    """Why there is no claim."""
    comma_decimal: bool = False
    """The claim is stated in a language that writes 3,5 and 1.000."""


def extract(completion: str, *, max_distinct_boxes: int) -> Extraction:
    """Find the final answer of `completion`."""
    text = after_thinking(single_backslashes(completion[-MAX_SEARCHED:]))
    if text is None:
        return Extraction((), "the thinking is never closed")
    tagged = answer_block(text)
    if tagged is not None:
        return _in_block(tagged, max_distinct_boxes)
    return _in_text(text, max_distinct_boxes)


def _in_block(block: str, max_distinct_boxes: int) -> Extraction:
    if find_boxes(block).spans or "\\boxed" in block:
        return _in_text(block, max_distinct_boxes)
    phrases = find_phrases(block)
    if phrases:
        return Extraction((phrases[-1].text,), comma_decimal=phrases[-1].comma_decimal)
    claim = block.strip()
    return Extraction((claim,)) if claim else Extraction((), "the answer block is empty")


def _in_text(text: str, max_distinct_boxes: int) -> Extraction:
    boxes = find_boxes(text)
    if boxes.spans or "\\boxed" in text:
        return _from_boxes(text, boxes.spans, boxes.last_is_closed, max_distinct_boxes)
    if fields := list(_FIELD.finditer(text)):
        later = find_phrases(text[fields[-1].end() :], explicit=True)
        return Extraction((_value(fields[-1]), *(span.text for span in later[-1:])))
    if phrases := find_phrases(text):
        return _joined(final_run(text, phrases))
    claim = bare_answer(text) or stated_value(text) or bare_words(text)
    return Extraction((claim,)) if claim else Extraction((), "no final answer")


def _value(field: re.Match[str]) -> str:
    # No JSON parser: backslashes were single by now, and `\f` begins many a fraction.
    return field["number"] or field["string"][1:-1].replace('\\"', '"')


def _from_boxes(
    text: str, spans: list[Span], last_is_closed: bool, max_distinct: int
) -> Extraction:
    if not last_is_closed:
        return Extraction((), "the last box is never closed")
    if not spans[-1].text.strip():
        return Extraction((), "the last box is empty")
    spans = [span for span in spans if not is_denied(text, span.start, at_once=True)]
    if not spans:
        return Extraction((), "what is boxed is denied")
    run = final_run(text, spans)
    earlier = {span.text.strip() for span in spans[: len(spans) - len(run)]}
    if len(earlier) >= max_distinct:
        return Extraction((), f"more than {max_distinct} different boxed values")
    joined = _joined(run)
    rest = text[spans[-1].end :]
    later = find_phrases(rest, explicit=True) or taken_back(rest)
    return Extraction((*joined.claims, later[-1].text)) if later else joined


def _joined(run: list[Span]) -> Extraction:
    values = [without_denied(span.text.strip()) for span in run]
    if len(set(values)) == 1:  # one value, said twice
        del values[1:]
    return Extraction((", ".join(values),), comma_decimal=run[-1].comma_decimal)
