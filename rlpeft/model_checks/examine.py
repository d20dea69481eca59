"""All laws on one model, a row each, whatever the model does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.errors import DataError, RlpeftError
from rlpeft.model_checks import OWN_ENGINE
from rlpeft.model_checks.engines import Stage
from rlpeft.model_checks.finding import Finding, LawVerdict, absent, plain, quoted, refused, unknown
from rlpeft.model_checks.subject import MOST_WRITTEN, TURN_S, Subject
from rlpeft.model_checks.table import ENGINE_LAWS, LAWS, Law, LawNeeds
from rlpeft.tokens.deadline import OvertimeError, deadline

PATIENCE_S, LONG_PATIENCE_S = 120, 3600
"""Seconds after which a law gives up, of text and of weights."""

TEXT_S = 240
"""Seconds for all laws of text together: a template that is slow is so in each of them."""

FOREIGN = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx")
"""Ends of names of weights that we do not read."""

MOST_LETTERS = 2000
"""Of a row's evidence: what it quotes is hostile, too."""

WEIGHED = (LawNeeds.CONFIG, LawNeeds.WEIGHTS, LawNeeds.LEARNER)


@dataclass(frozen=True, slots=True)
class Examined:
    """A law's row of the table.

    Attributes:
        engine: that it was tried on; `None` where it is of the model itself.
        blocks: whether the model should not be used as it is.
    """

    law: str
    engine: str | None
    verdict: LawVerdict
    evidence: str
    advice: str
    blocks: bool


def examine(
    folder: Path,
    *,
    weights: bool = True,
    engines: Sequence[str] = (OWN_ENGINE,),
    dtype: str = "float32",
) -> Iterator[Examined]:
    """Try every law on the model of a folder.

    Args:
        weights: whether laws may look at its weights.
        engines: those that play the scripted model, and the model itself.
        dtype: name of a torch dtype, for the weights.

    Yields:
        A row for each law, as soon as it is known.

    Raises:
        ModelError: its tokenizer cannot be read.
    """
    subject, judge = Subject(folder, weights=weights, dtype=dtype), Inquiry()
    spent = 0.0
    for law in LAWS:
        of_text, begun = law.needs not in WEIGHED, time.monotonic()
        left = max(TEXT_S - spent, 0.1)  # zero would be no limit at all
        patience = min(PATIENCE_S, left) if of_text else LONG_PATIENCE_S
        finding = _lacks(subject, law) or judge(law.name, law.check, subject, patience_s=patience)
        spent += (time.monotonic() - begun) if of_text else 0.0
        yield _row(law.name, None, finding, optional=law.optional)
    for engine in engines:
        stage = Stage(subject, engine)
        for engine_law in ENGINE_LAWS:
            name, check = engine_law.name, engine_law.check
            yield _row(name, engine, judge(name, check, stage, patience_s=LONG_PATIENCE_S))


def _row(law: str, engine: str | None, found: Finding, *, optional: bool = False) -> Examined:
    bad = {LawVerdict.BROKEN, LawVerdict.UNKNOWN} | (
        {LawVerdict.REFUSED} if not optional else set()
    )
    evidence, advice = plain(found.evidence[:MOST_LETTERS]), plain(found.advice)
    return Examined(law, engine, found.verdict, evidence, advice, found.verdict in bad)


def _lacks(subject: Subject, law: Law) -> Finding | None:
    """Why a law has nothing to look at."""
    needs = law.needs
    if needs is LawNeeds.TEMPLATE and subject.endless and law.name != TURNS:
        return absent(f"it needs what failed in {TURNS!r}")
    if needs is LawNeeds.TEMPLATE and subject.endless:
        return unknown(
            f"the chat template renders one turn for more than {TURN_S} s, or writes more than "
            f"{MOST_WRITTEN:,} letters for it",
            "Mend chat_template.jinja; the other laws are tried without it.",
        )
    if needs is LawNeeds.TEMPLATE and not subject.tokenizer.chat_template:
        return absent("the tokenizer has no chat template; tasks give plain text")
    if needs is LawNeeds.CONFIG and not (subject.folder / "config.json").is_file():
        return absent("the folder holds no config.json")
    if needs in (LawNeeds.WEIGHTS, LawNeeds.LEARNER) and not subject.weights:
        if law.name != WEIGHTS and _foreign(subject) is not None:
            return absent(f"it needs what failed in {WEIGHTS!r}")
        if (other := _foreign(subject)) is not None:
            return unknown(
                f"{quoted(other)} is no *.safetensors, and may run code when it is read",
                "Convert the weights with save_pretrained; the laws of text are tried without.",
            )
        return absent("no weights are looked at")
    return None


def _foreign(subject: Subject) -> str | None:
    """Weights that we do not read, where there are no others."""
    if any(subject.folder.glob("*.safetensors")):
        return None
    names = (file.name for file in sorted(subject.folder.iterdir()) if file.suffix in FOREIGN)
    return next(names, None)


class Inquiry:
    """Asks laws for their findings; a cause that is met again is told once."""

    def __init__(self) -> None:
        self._told: dict[object, str] = {}
        self._kept: list[BaseException] = []

    def __call__(
        self, name: str, check: Callable[[Any], Finding], on: Any, *, patience_s: float
    ) -> Finding:
        """What a law finds; if it raises, that is what is found."""
        try:
            with deadline(patience_s):
                return check(on)
        except (Exception, OvertimeError) as error:
            # Recovery: whatever a model does to a law is what the table is for.
            first = self._told.get(_cause(error))
            if first is None and isinstance(error, DataError):
                first = self._told.get(TURNS)
            if first is not None:
                return absent(f"it needs what failed in {first!r}")
            self._kept.append(error)  # so that its id is no other's
            self._told[_cause(error)] = name
            if name == TURNS:
                self._told[TURNS] = name
            return _failure(error)


TURNS, WEIGHTS = "turns", "weights"
"""Laws without which those of a template and of numbers have nothing to look at."""


def _cause(error: BaseException) -> object:
    """What tells causes apart: laws render different turns, the template's own error is one."""
    if isinstance(error, OvertimeError):
        return id(error)
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error), _one_line(error)


def _failure(error: BaseException) -> Finding:
    if isinstance(error, RlpeftError):
        return refused(_one_line(error))
    if isinstance(error, OvertimeError):
        return unknown(str(error), "A very large model, or a program in it that never ends.")
    return unknown(
        f"{type(error).__name__}: {_one_line(error)}"[:400], "Not one of ours: see its cause."
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
