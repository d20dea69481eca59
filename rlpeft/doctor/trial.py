"""A reward tried out on real rows, with completions made for them.

Right answers are stated in several forms, for a reward may read one and not another; the best of
them is the form of wrong ones too. What is empty, cut off or hostile has to earn less.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rewards.verdict import Verdict, VerdictKind

BOXED = r"\boxed{{{}}}"

GOLD_FORMS = (
    "{}",
    "The answer is {}.",
    BOXED,
    "#### {}",
    "<answer>{}</answer>",
    "<think>Let me see.</think>{}",
    "The answer is ({}).",
    "Label: {}",
)
"""Ways to write a gold answer; a reward should accept at least one."""

PROGRAM = "```python\n{}\n```"
"""How a completion states a program."""

_WRONG_PROGRAM = "def f():\n    return None"
_CUT_OFF = "Let us think about it step by step. First, we"
_HOSTILE = (
    "9**9**9**9",
    "().__class__.__base__.__subclasses__()",
    "(" * 5000,
    "```python\nimport os\nos._exit(0)\n```",
    "1000000000! \ud800 \u0000 ٣٫١٤",
)
_HOSTILE_PROGRAMS = ("import os\nos._exit(0)", "().__class__.__base__.__subclasses__()")
_HOSTILE_BOXED = (
    "\\boxed{9**9**9**9}",
    "\\boxed{" * 3000,
    "\\boxed{().__class__.__base__.__subclasses__()}",
    "The answer is " + "(" * 5000,
    "```python\nimport os\nos._exit(0)\n```",
    "\\boxed{1000000000!} \ud800 \u0000 ٣٫١٤",
)


class Judge(Protocol):
    """What a reward says of one completion a row."""

    def __call__(self, texts: Sequence[str], *, cut: bool) -> list[Verdict]:
        """One verdict a text; `cut`: a limit ended them."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """Completions of one sort, one a row, and what the reward said of them."""

    texts: list[str]
    verdicts: list[Verdict]
    seconds: float

    @property
    def score(self) -> float | None:
        """Mean of the scored ones; `None` if none was."""
        scores = [verdict.score for verdict in self.verdicts if verdict.score is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def worth(self) -> tuple[int, float]:
        """How answers are taken: correct ones first, then the mean score."""
        correct = sum(verdict.kind is VerdictKind.CORRECT for verdict in self.verdicts)
        return correct, float("-inf") if self.score is None else self.score


class Trial:
    """Completions for rows whose right answers are known; those of each sort are judged once asked.

    Args:
        golds: a right answer to each row, as text; or a program, where `forms` states programs.
        forms: ways to state a right answer; `{}` stands for it.
        others: right answers to more rows, to take wrong ones from.
    """

    def __init__(
        self,
        judge: Judge,
        golds: Sequence[str],
        *,
        forms: Iterable[str] = GOLD_FORMS,
        others: Sequence[str] = (),
    ) -> None:
        self._judge, self._golds, self._others = judge, golds, others or golds
        self.by_form = {form: self._stated(form, golds) for form in dict.fromkeys(forms)}
        self.form = max(self.by_form, key=lambda form: self.by_form[form].worth)

    @property
    def right(self) -> Tried:
        """Right answers, in the form that is taken best."""
        return self.by_form[self.form]

    def wrong(self) -> Tried:
        """Answers of the same form that are right for another row, if at all."""
        if self.form == PROGRAM:
            return self._stated(self.form, [_WRONG_PROGRAM] * len(self._golds))
        return self._stated(self.form, [another(gold, self._others) for gold in self._golds])

    def empty(self) -> Tried:
        """Nothing at all."""
        return self._tried([""] * len(self._golds))

    def truncated(self) -> Tried:
        """The beginning of an answer, which a limit ended."""
        return self._tried([_CUT_OFF] * len(self._golds), cut=True)

    def is_constant(self) -> bool:
        """Whether right answers in every form, wrong and empty ones all get one score."""
        return self._is_alike() and self.right.score is not None

    def is_scoreless(self) -> bool:
        """Whether none of them gets any."""
        return self._is_alike() and self.right.score is None

    def _is_alike(self) -> bool:
        scores = _scores(self.by_form.values())
        return len(scores) == 1 and _scores([self.wrong(), self.empty()]) == scores

    def hostile(self) -> Tried:
        """What makes a grader hang, fail or run it."""
        texts = self._hostile()
        return self._tried([texts[n % len(texts)] for n in range(len(self._golds))])

    def _hostile(self) -> Sequence[str]:
        """Of the kind of answer that the reward takes."""
        if self.form == PROGRAM:
            return [PROGRAM.format(program) for program in _HOSTILE_PROGRAMS]
        if BOXED in self.by_form and self.by_form[BOXED].worth == self.right.worth:
            return _HOSTILE_BOXED
        return [self.form.format(answer) for answer in _HOSTILE]

    def _stated(self, form: str, answers: Sequence[str]) -> Tried:
        return self._tried([form.format(answer) for answer in answers])

    def _tried(self, texts: list[str], *, cut: bool = False) -> Tried:
        start = time.perf_counter()
        verdicts = self._judge(texts, cut=cut)
        return Tried(texts, verdicts, time.perf_counter() - start)


def _scores(every: Iterable[Tried]) -> set[float | None]:
    return {verdict.score for tried in every for verdict in tried.verdicts}


def another(gold: str, golds: Iterable[str]) -> str:
    """An answer of the same form that is not `gold`: the first other of `golds`, or one made up."""
    made_up = "B" if gold == "A" else "A" if len(gold) == 1 and gold.isalpha() else f"{gold}1"
    return next((other for other in golds if other not in ("", gold)), made_up)
