r"""Multiple choice: letters, numeric keys, and `answer2` forms.

A completion may *state* its choice in a box, in a sentence such as "The answer is (B)", or by
being nothing but the key. Statements run together ("A, B, C, D", one box per option) are one
statement of several choices, and a statement of several choices is no answer. A key that is denied
("not A") or said to be wrong is not stated; a correction ("B... no, C") takes its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from string import ascii_uppercase

from rewards.completion.boxes import find_boxes
from rewards.completion.plain import plain_text
from rewards.completion.regions import answer_region
from rewards.errors import RewardError
from rewards.text import phrases
from rewards.text.keys import Keys, keys_like
from rewards.verdict import Verdict, VerdictKind

LETTERS = "ABCDE"
"""Options where none are given; a gold answer beyond them extends them up to itself."""

LEFT, RIGHT = 120, 80
"""Characters before and after a key that are read for what is said of it."""

LINE = 500
"""Characters of a line that are read for the text of an option."""

MOST_KEYS = 5_000
"""Keys, counted from the end, beyond which a completion is not read: it is no answer then."""

_NAMED_KEY = re.compile(r"([a-z]{3,12})\s?(\d{1,2})", re.IGNORECASE)
_JOIN = re.compile(r"(?:[\s,;/&|.]|\\[,; ]|and\b|or\b)*", re.IGNORECASE)


class _Said(IntEnum):
    """How a completion speaks of a key."""

    WRONG = 0
    HINTED = 1
    STATED = 2
    CORRECTED = 3


@dataclass(frozen=True, slots=True)
class _Statement:
    keys: frozenset[str]
    start: int
    end: int
    said: _Said = _Said.STATED


def verify_choice(completion: str, gold: str, *, letters: str | None = None) -> Verdict:
    r"""Compare the one choice a completion states with the key of the right option.

    >>> verify_choice("Only one survives.\n\nAnswer: (B)", "B").score
    1.0

    Args:
        completion: the model's text.
        gold: a letter, a numeric key ("3"), or a named one ("answer2"); the form of the gold
            answer decides which form is looked for.
        letters: the options' letters, in order; A to E, or to the gold answer, if absent.

    Raises:
        RewardError: `letters` is not a string of different capital letters.
    """
    if letters is not None and not _are_letters(letters):
        raise RewardError(f"letters must be different capitals such as 'ABCDE', got {letters!r}.")
    key = _gold_key(plain_text(gold), letters or ascii_uppercase)
    if key is None:
        known = letters or "the letters"
        reason = f"gold must be one of {known}, a number or a form like answer2, got {gold!r:.60}"
        return Verdict(None, VerdictKind.UNSCORABLE, reason)
    if letters is None:
        letters = ascii_uppercase[: max(len(LETTERS), ascii_uppercase.find(key) + 1)]
    chosen = _choices(completion, keys_like(key, letters))
    if not chosen:
        return Verdict(0.0, VerdictKind.UNPARSABLE, "the completion states no choice")
    if len(chosen) > 1:
        reason = f"the completion states several choices: {', '.join(sorted(chosen))}"
        return Verdict(0.0, VerdictKind.UNPARSABLE, reason)
    (found,) = chosen
    kind = VerdictKind.CORRECT if found == key else VerdictKind.WRONG
    score = float(found == key)
    return Verdict(score, kind, f"chose {found}, the key is {key}", extracted=found)


def _are_letters(letters: str) -> bool:
    return (
        letters.isascii()
        and letters.isalpha()
        and letters.isupper()
        and len(set(letters)) == len(letters) > 1
    )


def _gold_key(gold: str, letters: str) -> str | None:
    bare = gold.strip().strip("().[]{}:").strip()
    if bare.upper() in list(letters):
        return bare.upper()
    if bare.isascii() and bare.isdigit() and len(bare) <= 2:
        return bare
    if named := _NAMED_KEY.fullmatch(bare):
        return named[1].lower() + named[2]
    stated = _choices(gold, keys_like("A", letters))  # "B. photosynthesis", "Option B"
    return next(iter(stated)) if len(stated) == 1 else None


def _choices(completion: str, keys: Keys) -> frozenset[str]:
    region = answer_region(completion)
    if region is None:
        return frozenset()
    region = plain_text(region)
    boxed, spoken = _boxed(region, keys), _spoken(region, keys)
    stated = [s for s in spoken if s.said >= _Said.STATED]
    if boxed and stated and stated[-1].start >= boxed[-1].end:
        # A sentence after the box restates it or takes it back; two answers are none.
        last = _last(region, stated)
        return last if stated[-1].said is _Said.CORRECTED else _last(region, boxed) | last
    hinted = [s for s in spoken if s.said is _Said.HINTED]
    statements = boxed or stated or _bare(region, keys) or hinted
    chosen = _last(region, statements)
    wrong = [s for s in spoken if s.said is _Said.WRONG]
    if not chosen and keys.is_name:
        # A named key ("answer2") is no ordinary word, so a mention is a statement.
        denied = frozenset().union(*(s.keys for s in wrong))
        return frozenset(_normal(m["key"]) for m in keys.mention.finditer(region)) - denied
    # What is said to be wrong after it was stated is taken back.
    taken_back = any(s.keys == chosen and s.start >= statements[-1].start for s in wrong)
    return frozenset() if taken_back else chosen


def _last(region: str, statements: list[_Statement]) -> frozenset[str]:
    """Return the keys of the last statement and of those run together with it."""
    keys: frozenset[str] = frozenset()
    following: _Statement | None = None
    for statement in reversed(statements):
        if following and not _JOIN.fullmatch(region, statement.end, following.start):
            break
        keys |= statement.keys
        if statement.said is _Said.CORRECTED:
            break
        following = statement
    return keys


def _boxed(region: str, keys: Keys) -> list[_Statement]:
    found = []
    for box in find_boxes(region).spans:
        content = box.text[:500].strip(" \"'")
        if match := keys.boxed.match(content):
            found.append(_Statement(_run(content, match, keys).keys, box.start, box.end))
    return found


def _spoken(region: str, keys: Keys) -> list[_Statement]:
    """Everything that sentences say of keys, in order."""
    runs: list[_Statement] = []
    for match in keys.mention.finditer(region):
        if not runs or match.start() >= runs[-1].end:
            runs.append(_run(region, match, keys))
    found: list[_Statement] = []
    stated_end = 0
    for statement in (_read(region, run, keys) for run in runs[-MOST_KEYS:]):
        if statement is None:
            continue
        if statement.said is _Said.STATED:
            if statement.start < stated_end:
                continue  # "The answer is D: both A and C": what leads to A already stated D
            stated_end = statement.end
        found.append(statement)
    return found


def _read(region: str, run: _Statement, keys: Keys) -> _Statement | None:
    left = region[max(0, run.start - LEFT) : run.start]
    right = region[run.end : run.end + RIGHT]
    judged = phrases.judged(right)
    if judged is False:
        return replace(run, said=_Said.WRONG)
    if not (judged or keys.ends.match(region, run.end) or _has_text(region, run, keys)):
        return None
    lead = phrases.find_lead(left)
    if not (judged or lead):
        return replace(run, said=_Said.WRONG) if phrases.DENIED.search(left[-16:]) else None
    said = _said(left, lead, right, is_right=judged is True)
    start = run.start - len(left) + lead.start() if lead else run.start
    return None if said is None else replace(run, start=start, said=said)


def _has_text(region: str, run: _Statement, keys: Keys) -> bool:
    """Whether a run is one key in brackets, "B) dog", whose text is all that its line says."""
    if len(run.keys) > 1 or region[run.end - 1] not in ")]":
        return False
    text = region[run.end : run.end + LINE].partition("\n")[0]
    return not (phrases.DOUBTED.search(text) or keys.mention.search(text))


def _said(left: str, lead: re.Match[str] | None, right: str, *, is_right: bool) -> _Said | None:
    """What is said of a key between its lead, which ends `left`, and what follows it."""
    clause_ends = phrases.ENDS.match(right)
    if lead and lead.re is phrases.CORRECTED and (is_right or clause_ends):
        all_but = phrases.ALL_BUT.search(left, 0, lead.start())
        return _Said.WRONG if all_but else _Said.CORRECTED
    clause = phrases.AFFIRMED.sub("", _clause(left, lead))
    if phrases.NEGATED.search(clause):
        return _Said.WRONG
    if phrases.CONDITION.search(clause) or right.lstrip(" )\"'").startswith("?"):
        return None
    if is_right or (lead and lead.re is phrases.STATED):
        return _Said.STATED
    return _Said.HINTED if lead and lead.re is phrases.HINTED and clause_ends else None


def _clause(left: str, lead: re.Match[str] | None) -> str:
    """The end of `left`, from the clause in which its lead begins."""
    cut = len(left) if lead is None else lead.start() + 1
    start = 0
    for boundary in phrases.CLAUSE.finditer(left, 0, cut):
        start = boundary.end()
    return left[start:]


def _run(text: str, match: re.Match[str], keys: Keys) -> _Statement:
    """One key and those run together with it: "A, B or C"."""
    found, end, key_end = {_normal(match["key"])}, match.end(), match.end("key")
    while (follower := keys.follower.match(text, key_end)) is not None:
        found.add(_normal(follower["key"]))
        end, key_end = follower.end(), follower.end("key")
    return _Statement(frozenset(found), match.start(), end)


def _bare(region: str, keys: Keys) -> list[_Statement]:
    """The key if the region's last or first line is nothing but the key (and its text)."""
    lines = list(re.finditer(r"[^\s][^\n]*", region))
    if lines and (last := _alone(lines[-1], keys)):
        if len(lines) == 1 or not (before := _alone(lines[-2], keys)):
            return [last]
        # Options one a line are no choice, unless a last one is repeated without its text.
        repeats = keys.pure.fullmatch(lines[-1][0]) and not keys.pure.fullmatch(lines[-2][0])
        return [last if repeats else replace(last, keys=last.keys | before.keys)]
    if len(lines) > 1 and (first := _alone(lines[0], keys)) and not _alone(lines[1], keys):
        return [first]
    return []


def _alone(line: re.Match[str], keys: Keys) -> _Statement | None:
    content = line[0][:LINE].strip(" \"'")
    match = keys.alone.match(content)
    if match is None:
        return None
    run = _run(content, match, keys)
    listed = (m for m in keys.mention.finditer(content, run.end) if m[0].endswith((")", "]")))
    beside = {_normal(m["key"]) for m in listed}  # "A) yes B) no": options in one line
    return _Statement(run.keys | beside, line.start(), line.end())


def _normal(key: str) -> str:
    return re.sub(r"\s", "", key).lower() if len(key) > 2 else key.upper()
