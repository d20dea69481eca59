"""Whether the words before a value say that it is not the answer: "there is no way it is 8"."""

from __future__ import annotations

import re

_MAX_LEFT = 120
DENYING = re.compile(
    r"\b(?:no\s(?:way|chance)"
    r"|(?:(?:do|does|did|would|could|can)(?:\snot|n['’]t)|cannot|never)\s"
    r"(?:think|believe|say|conclude|claim|mean|suppose|accept|agree)(?!\s(?:of|about))"
    r"|I\sdoubt"
    r"|(?:false|wrong|incorrect|untrue|impossible|not\s(?:true|right|correct|the\scase))"
    r"(?:\sto\s\w{1,12})?\sthat)\b"
    r"(?![^.!?\n]{0,80}\b(?:doubts?|but|so|then|hence|thus|therefore)\b)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(rf"(?:{DENYING.pattern})[^.!?;:,\n]{{0,50}}\Z", re.IGNORECASE)
# "Prime or not", "why not": those that deny nothing of what follows.
_RIGHT_BEFORE = re.compile(
    r"(?:(?<!\bor\s)(?<!\bwhy\s)(?<!\bif\s)\bnot|\bnever|\bneither|\bnor|\brather\sthan"
    r"|\binstead\sof|不是|并非)"
    r"[\s$*(\[\\]{0,6}\Z",
    re.IGNORECASE,
)


def is_denied(text: str, start: int, *, at_once: bool = False) -> bool:
    """Whether the clause that leads to `start` denies what stands there.

    Args:
        at_once: it may do so by its last word, too: the 6 of "5, not 6".
    """
    left = text[max(0, start - _MAX_LEFT) : start]
    return bool(_CLAUSE.search(left) or (at_once and _RIGHT_BEFORE.search(left)))
