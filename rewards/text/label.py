"""Classification: one label out of a closed set, compared after unicode and case folding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rewards.completion.boxes import find_boxes
from rewards.completion.plain import plain_text
from rewards.completion.regions import answer_region
from rewards.errors import RewardError
from rewards.text.phrases import AFFIRMED
from rewards.verdict import Verdict, VerdictKind

_LEAD = re.compile(
    r"(?:(?<![^\W_])(?:answer|label|class|category|classification|sentiment|prediction|topic|type|"
    r"verdict|intent|emotion|respuesta|réponse|antwort|risposta|resposta|ответ|jawaban|đáp án)"
    r"[\s\"']{0,3}(?:(?:\s[^\s.,:;!?]{1,24}){0,6}?\s(?:is|was|es|est|ist|è|é|là|adalah)\b|:|=)"
    r"|(?:答案|标签|標籤|类别|類別|分类|情感|正解|答え|ラベル|분류|정답|답)(?:是|为|為|は|은|는|:)|####)"
    r"[\s_\"':]{0,8}([^\n]{1,200})",
    re.IGNORECASE,
)
# What denies the label that follows it, up to three words later; "no", up to two.
_DENIAL = re.compile(
    r"(?:\b(?:not|isn['’]t|wasn['’]t|aren['’]t|doesn['’]t|don['’]t|never|neither|nor|hardly|"
    r"no way|fail(?:s|ed|ing)? to|rather than|instead of|far from|anything but|cannot be|"
    r"can['’]t be|by no means|without|"
    r"lack(?:s|ing|ed)?|rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)|absence of|free of|zero|"
    r"nicht|keine?|ohne|pas|sans|aucune?|no es|sin|ningun[ao]?|ningún|non è|senza|não é|sem|не|без|"
    r"нет)\b(?:\s\w+){0,3}?|\bno(?:\s(?!it\b|this\b|that\b|is\b)\w+){0,2}|"
    r"不是|并非|没有|不|非|未|无)\s*$"
)
# What denies the label before it: "spam? No.", "spam: false", "spam is ruled out".
_DENIED = re.compile(
    r"[\s\"'’)\]*_]{0,4}(?:\?[\s\"'*]{0,3}(?:no|nope|not|never|by no means|hardly|nein|non|нет)\b"
    r"|[:=]\s?(?:no|false)(?=\s*(?:[.,;!}]|$))"
    r"|(?<=\s)(?:does not|doesn['’]t|do not|fails|cannot|can['’]t)\b"
    r"|(?<=\s)(?:(?:is|was|can be|must be|has been)\s)(?:ruled out|excluded|rejected|absent|"
    r"false|wrong|incorrect|impossible|unlikely|not (?:the case|right|correct|true|it|here|present|"
    r"given|supported|established|possible|what|warranted|justified)\b|not\s?(?=[.,;!]|$)))"
)
_BEHIND = 80
"""Characters after a label that are read for what is said of it."""
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
# Where "no" belongs to the noun that follows it.
_DETERMINER = "".join(
    rf"(?<!\b{word}\s)"
    for word in ("there is", "there's", "there are", "has", "have", "had", "with", "see", "makes")
)
_JOINED = re.compile(r"\s*(?:or|nor|and|,|/)\s*(?:an?\s)?\Z")
_CORRECTION = re.compile(
    r"(?:^|[\s.…,;:!?–—-])(?:no|wait|actually|sorry|correction|i mean|on second thought)[\s,.:–—-]"
)


def verify_label(completion: str, gold: str, *, labels: Sequence[str] = ()) -> Verdict:
    r"""Compare the label a completion gives with the gold label.

    >>> verify_label("The review is warm. Label: Positive.", "positive").score
    1.0

    The label is looked for in the last box, else in the last line that names it ("Label: ..."),
    else in the whole answer. With `labels` exactly one of them must occur there, as whole words
    and not denied ("not positive"), or after a correction ("... no, neutral"); without, the text
    there must be the gold label itself.

    Args:
        completion: the model's text.
        gold: the right label; one outside `labels` is unscorable.
        labels: the closed set.

    Raises:
        RewardError: two labels are equal after folding.
    """
    known = tuple(_fold(label) for label in labels)
    if len(set(known)) < len(known):
        raise RewardError(f"labels must differ after case folding, got {list(labels)!r}.")
    expected = _fold(gold)
    if not expected or (known and expected not in known):
        reason = f"gold must be one of {list(labels) or 'the labels'}, got {gold!r:.60}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    region = answer_region(completion)
    stated = None if region is None else _fold(_stated(plain_text(region)))
    if not stated:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion gives no label")
    return _compare(stated, expected, known)


def _compare(stated: str, expected: str, known: tuple[str, ...]) -> Verdict:
    found = _given(stated, known) if known else {stated}
    if len(found) != 1:
        several = ", ".join(sorted(found)) or "no known label"
        return Verdict(0.0, VerdictKind.UNPARSABLE, f"one label is wanted, got {several}")
    (label,) = found
    correct = label == expected
    kind = VerdictKind.CORRECT if correct else VerdictKind.WRONG
    reason = f"label {label!r:.60}, gold {expected!r:.60}"
    return Verdict(float(correct), kind, reason, extracted=label[:200])


def _given(stated: str, known: tuple[str, ...]) -> set[str]:
    """The labels that `stated` gives: those after its last correction, but the denied ones."""
    found: dict[str, None] = {}
    end, joined = 0, False
    for match in _alternatives(known).finditer(stated):
        between = AFFIRMED.sub("", stated[end : match.start()])
        denial = _DENIAL.search(between)
        if found and _CORRECTION.search(between, 0, denial.start() if denial else len(between)):
            found.clear()
        # "neither positive nor negative": what is joined to a denied label is denied.
        joined = bool(denial) or (joined and bool(_JOINED.match(between)))
        end = match.end()
        behind = AFFIRMED.sub("", stated[end : end + _BEHIND])
        if joined or _DENIED.match(behind):
            found.pop(match[0], None)
        else:
            found[match[0]] = None
    return set(found)


def _stated(region: str) -> str:
    found = find_boxes(region).spans
    if found:
        return found[-1].text
    lead = None
    for match in _LEAD.finditer(region):
        lead = match[1]
    return region if lead is None else lead


@lru_cache(maxsize=64)
def _alternatives(labels: tuple[str, ...]) -> re.Pattern[str]:
    # Longest first, so that "not positive" is not read as "positive".
    choices = "|".join(map(_whole, sorted(labels, key=len, reverse=True)))
    return re.compile(choices)


def _whole(label: str) -> str:
    """The label as a word; scripts without spaces have none, and "no doubt" is not "no"."""
    before = "" if _UNSPACED.match(label[0]) else r"(?<!\w)"
    after = "" if _UNSPACED.match(label[-1]) else r"(?!\w)"
    determined = _DETERMINER if label == "no" else ""
    return f"{determined}{before}{re.escape(label)}{after}"


def _fold(text: str) -> str:
    """Normalise unicode (NFKC), case and blanks, and drop markup and punctuation around.

    "non-toxic" and "not toxic" are one label.
    """
    folded = " ".join(plain_text(text).casefold().split())
    folded = re.sub(r"\b(?:non|not)[-_ ](?=\w)", "not ", folded)
    return folded.strip(" .,:;!?*_`\"'“”‘’$()[]{}<>")
