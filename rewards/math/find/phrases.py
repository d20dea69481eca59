"""Answers stated in words: "The final answer is 7", "#### 7", "So x equals 7."

Only the end of a text is searched, each pattern has bounded gaps, and a value is tried as
written and then cut at a few places, so the cost does not depend on what the text says.
"""

from __future__ import annotations

import re

from rewards.completion.boxes import Span
from rewards.math.find.answer_words import COMMA_DECIMAL, EXPLICIT, NO_STATEMENT, STATING
from rewards.math.find.negations import DENYING, is_denied
from rewards.math.limits import PHRASE_WINDOW, Unreadable
from rewards.math.nodes import Group, Node, Quantity, Symbol, Text, walk
from rewards.math.read.answer import read
from rewards.math.vocabulary.languages import makes_another_number
from rewards.math.vocabulary.multipliers import changes_value

_IS_THE_ANSWER = re.compile(
    r"\s(?:is|are)\sthe\s(?:final\s|correct\s|required\s)?(?:answer|result|solution)s?\b",
    re.IGNORECASE,
)
_LEAD = re.compile(r"^(?:so|thus|hence|therefore|then|and)\b[\s,:]*", re.IGNORECASE)
_HEDGE = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|either|alternatively)\b|\band\b[^.\n]{0,20}[0-9]",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?:not|no\slonger|never|unknown|unclear|n't|nicht|pas|не)\b|不|没", re.IGNORECASE
)
_INSTEAD = re.compile(
    r"(?:not(?!\s(?:only|just|merely|simply)\b)|no\slonger)\s[^.\n]{1,60}?,?\s(?:but(?:\srather)?|rather|it(?:'s|\sis))\s",
    re.IGNORECASE,
)
# What takes an answer back, up to the value that takes its place.
_TAKEN_BACK = re.compile(
    r"(?:\bI(?:'ve|\shave)?\s(?:made|see|found|notice)\s(?:a|an|my)\s(?:\w+\s){0,2}(?:mistake|error)\b"
    r"|\bmy\smistake\b|\bcorrection\b|\bscratch\sthat\b|\b(?:actually|sorry)\b(?=,?\s(?:it|that|this)\b)"
    r"|\b(?:that|this|it)(?:['’]s|\sis|\swas)\s(?:wrong|incorrect|not\s(?:right|correct))\b)"
    r"[^\n]{0,120}?\b(?:should\s(?:be|have\sbeen|read)|must\sbe|is\sactually|it(?:['’]s|\sis))\s",
    re.IGNORECASE,
)
_FENCED = re.compile(r"```[ \t]*\n([^\n]{1,400})\n```")
_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
_LEADING = re.compile(r"(?:[\s*:：>}]|_(?!\{?[0-9]{1,6}\}?\s?C))*")  # _5C_2 is a number
_MATH = re.compile(
    r"\$\$(.{1,400}?)\$\$|\$([^$\n]{1,400})\$|\\\[(.{1,400}?)\\\]|\\\((.{1,400}?)\\\)", re.DOTALL
)
_CALCULATION = re.compile(r"<<[^<>]{0,80}>>")  # GSM8K's calculator notes: <<48/2=24>>24
# The mark of a factorial that is a part of something, and a line break inside 3又2分之1.
_FACTORIAL = (
    r"!(?=[^\S\n]{0,3}(?:[-−+*/^=×÷·]\s?(?:[0-9(\\$]|[a-z](?![a-z]))|\\?choose\b"
    r"|\\(?:times|cdot|div|over)\b))"
)
_WITHIN_MIXED = r"\n(?=\s{0,9}又?\s?[0-9〇零一二三四五六七八九十百千两]{0,64}\s?分[之の])"
_SENTENCE_END = re.compile(
    rf"(?!{_FACTORIAL}|{_WITHIN_MIXED})(?:(?<!\\)[.!?。](?=[\s\"'*)]|$)|\n|[。।])"
)
_CUT = re.compile(
    r"[,;:]?\s+(?=(?:so|because|since|which|as|for|in|and|but|where|when|with|that|by|on"
    r"|during|every|at(?!\s(?:least|most)))\b)"
    r"|,\s+(?=[a-z]{2,})|\s+\(|\s+[-–—]\s+",
)
# The number of "18 huevos" and "mayai 18": nothing before or behind it has another digit.
_BESIDE_A_NOUN = re.compile(
    r"(?P<before>(?:[^\W\d_]+\s){0,2})(?P<number>[-−$€£¥₹]?\s?[0-9](?:[0-9., ]*[0-9])?)\b"
    r"(?P<behind>\s[^0-9\\]{1,200})?[.\s]*"
)
_DENIAL = re.compile(r"(?:no|nicht|kein|pas|non|не|нет|o|ou|oder|или|au|या|বা|หรือ)\Z")
_MAX_VALUE = 600
_MAX_CUTS = 6
_MAX_PHRASES = 16
_MAX_BARE = 400
_MAX_BARE_WORDS = 3


def find_phrases(text: str, *, explicit: bool = False) -> list[Span]:
    """Values stated by a marker or an answer phrase, in order; the text is the value.

    A marker outranks phrases, and a value that can be read outranks those that cannot.

    Args:
        explicit: leave out values that cannot be read, for a second look after a box.
    """
    offset = max(0, len(text) - PHRASE_WINDOW)
    spans: list[Span] = []
    for match in list(EXPLICIT.finditer(text, offset))[-_MAX_PHRASES:]:
        foreign = match["foreign"] or ""
        value = _value_at(text, match.end(), foreign=bool(foreign))
        if value is None or is_denied(text, match.start()):
            continue
        end, written = value
        written = _CALCULATION.sub("", written)
        while spans and match.start() < spans[-1].end:  # "Final Answer: the answer is 7"
            spans.pop()
        comma = bool(COMMA_DECIMAL.match(foreign))
        spans.append(Span(match.start(), end, written, comma))
    markers = [span for span in spans if text.startswith("####", span.start)]
    readable = [span for span in markers or spans if _readable(span.text)]
    return readable or ([] if explicit else (markers or spans))


def without_denied(claim: str) -> str:
    """The 13 of "not 12 but 13"."""
    instead = _INSTEAD.match(claim)
    return claim[instead.end() :] if instead else claim


def bare_answer(text: str) -> str | None:
    """The whole text, or its last line, if it is a mathematical answer and nothing else."""
    whole = text.strip()
    if fenced := _FENCED.fullmatch(whole):
        whole = fenced[1]
    for candidate in (whole, whole.rpartition("\n")[2]):
        candidate = candidate.strip("*_ ")
        fits = 0 < len(candidate) <= _MAX_BARE and _readable(candidate)
        if fits and _is_mathematical(read(candidate).node):
            return candidate
    return None


def bare_words(text: str) -> str | None:
    """The whole text if it is a word or two: "Evelyn", "(C)"."""
    whole = text.strip().strip("*_ ")
    short = 0 < len(whole) <= _MAX_BARE and len(whole.split()) <= _MAX_BARE_WORDS
    return whole if short and _readable(whole) else None


def stated_value(text: str) -> str | None:
    """The value a last sentence states: "Therefore the probability equals 2/3."."""
    sentence = _last_sentence(text)
    if not sentence or NO_STATEMENT.search(sentence) or DENYING.search(sentence):
        return None
    reversed_statement = _IS_THE_ANSWER.search(sentence)
    if reversed_statement:
        return _final_value(sentence[: reversed_statement.start()])
    for verb in reversed(list(STATING.finditer(sentence))[-_MAX_CUTS:]):
        value = _value_at(sentence, verb.end())
        if value and _readable(value[1]) and _is_mathematical(read(value[1]).node):
            return value[1]
    return _bold_value(sentence)


def _bold_value(sentence: str) -> str | None:
    """The value that a sentence prints in bold: "Therefore, she sold **72** clips."."""
    bold = list(_BOLD.finditer(sentence))
    if len(bold) != 1 or not _readable(bold[0][1]):
        return None
    plain = sentence[: bold[0].start()] + bold[0][1] + sentence[bold[0].end() :]
    value = _value_at(plain, bold[0].start())
    if value and _readable(value[1]) and _is_mathematical(read(value[1]).node):
        return value[1]
    return None


def taken_back(text: str) -> list[Span]:
    """The value that a text puts in the place of an answer before it, if it does."""
    spans = []
    for match in list(_TAKEN_BACK.finditer(text[-PHRASE_WINDOW:]))[-1:]:
        value = _value_at(text[-PHRASE_WINDOW:], match.end())
        if value and _readable(value[1]) and _is_mathematical(read(value[1]).node):
            spans.append(Span(match.start(), value[0], value[1]))
    return spans


def _final_value(head: str) -> str | None:
    """The value of "Thus 42" in "Thus 42 is the answer"."""
    value = _LEAD.sub("", head.rpartition(", ")[2].strip())
    if _readable(value) and _is_mathematical(read(value).node):
        return value
    return None


def _last_sentence(text: str) -> str:
    tail = text.rstrip()[-_MAX_VALUE:]
    ends = [match.end() for match in _SENTENCE_END.finditer(tail) if match.end() < len(tail)]
    return tail[ends[-1] if ends else 0 :].strip()


def _value_at(text: str, start: int, *, foreign: bool = False) -> tuple[int, str] | None:
    """The value that starts at `start`, and where it ends; `None` if it is denied or hedged.

    Args:
        foreign: nouns of the text's language are not known: a lone number before them counts.
    """
    leading = _LEADING.match(text, start)
    start = leading.end() if leading else start
    if instead := _INSTEAD.match(text, start):  # "not 12 but 13"
        start = instead.end()
    if start >= len(text) or _NEGATION.match(text, start):
        return None
    segment = _MATH.match(text, start)
    sentence = _sentence(text, segment.end() if segment else start)
    tail = text[start:sentence]
    for length in _lengths(tail, segment.end() - start if segment else None):
        candidate = tail[:length].strip().rstrip("*_ ")
        if _readable(candidate) and not _mixes_words(read(candidate).node, foreign):
            if _HEDGE.search(tail, length) or (
                segment and length < len(tail) and makes_another_number("", tail[length:])
            ):
                return None
            return start + length, candidate
    if foreign and (stated := stated_value(tail)):  # "答：小明有5个苹果。"
        return sentence, stated
    if foreign and (number := _BESIDE_A_NOUN.fullmatch(tail)):
        before, behind = number["before"], number["behind"] or ""
        beside = f"{before} {behind}".casefold().split()
        is_changed = any(changes_value(word) or _DENIAL.match(word) for word in beside)
        if not (is_changed or makes_another_number(before, behind)):
            return sentence, number["number"]
    return sentence, tail.strip()


def _sentence(text: str, start: int) -> int:
    end = _SENTENCE_END.search(text, start, start + _MAX_VALUE)
    return end.start() if end else min(len(text), start + _MAX_VALUE)


def _lengths(tail: str, segment: int | None) -> list[int]:
    """Where the value may end: the sentence, then cuts from the longest to the shortest."""
    cuts = [match.start() for match in _CUT.finditer(tail)][:_MAX_CUTS]
    lengths = [len(tail), *reversed(cuts)]
    return [*lengths, segment] if segment else lengths


def _readable(candidate: str) -> bool:
    try:
        read(candidate)
    except Unreadable:
        return False
    return True


def _mixes_words(node: Node, foreign: bool) -> bool:
    """A list of a number and a clause, "72, in total", is a sentence read too far.

    So is a number among the words of a language whose nouns are not known: "mayai 18".
    """
    if foreign and isinstance(node, Text):
        return any(char.isdigit() for char in node.words)
    if not isinstance(node, Group):
        return False
    texts = sum(isinstance(item, Text) for item in node.items)
    return 0 < texts < len(node.items)


def _is_mathematical(node: Node) -> bool:
    """No words, and not a lone letter: "a" ends many sentences."""
    parts = [part for part in walk(node) if not isinstance(part, Quantity)]
    return not isinstance(node, Symbol) and not any(isinstance(part, Text) for part in parts)
