"""The GSM8K scorer of the Transformer-squared reference code, for comparable numbers only.

It takes the last match of one regular expression as a float, on both sides. It knows neither
signs nor thousands separators ("#### 70,000" reads 0.0), so train with kind "math" instead.
"""

from __future__ import annotations

import re

from rewards.verdict import Verdict, VerdictKind

# The reference's `\d*\.?\d+`, and the run of digits and points it is looked up in: a lone
# `\d*\.?\d+` search restarts at every digit and takes quadratic time on a long digit run.
_RUN = re.compile(r"[\d.]+")
_NUMBER = re.compile(r"\d*\.?\d+")
_MAX_DIGITS = 400  # float() overflows to inf past 308 digits, which equals every other inf


def verify_gsm8k_legacy(completion: str, gold: str) -> Verdict:
    """Compare the last number of `completion` with the last number of `gold`, as floats.

    Sign and thousands separators are ignored, as in the reference (methods: SakanaAI's
    self-adaptive-llms, GSM8K task).
    """
    expected = _last_number(gold)
    if expected is None:
        return Verdict(None, VerdictKind.UNSCORABLE, f"gold holds no number: {gold!r:.80}")
    found = _last_number(completion)
    if found is None:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion holds no number")
    correct = float(found) == float(expected)
    kind = VerdictKind.CORRECT if correct else VerdictKind.WRONG
    sign = "equals" if correct else "differs from"
    return Verdict(float(correct), kind, f"{found} {sign} {expected} as a float", extracted=found)


def _last_number(text: str) -> str | None:
    last = None
    for run in _RUN.finditer(text):
        for match in _NUMBER.finditer(run.group()):
            last = match.group()
    return last if last is None or len(last) <= _MAX_DIGITS else None
