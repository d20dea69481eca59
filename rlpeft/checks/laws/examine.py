"""All laws on one model, a row each, whatever the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpeft.checks.laws.deadline import OvertimeError, deadline
from rlpeft.checks.laws.engines import Stage
from rlpeft.checks.laws.finding import Finding, Verdict, absent, plain, refused, unknown
from rlpeft.checks.laws.subject import TURN_S, Subject
from rlpeft.checks.laws.table import ENGINE_LAWS, LAWS, Needs
from rlpeft.errors import RlpeftError

PATIENCE_S = 120
"""Seconds after which a law gives up."""


@dataclass(frozen=True, slots=True)
class Row:
    """A law's row of the table.

    Attributes:
        engine: that it was tried on; `None` where it is of the model itself.
        blocks: whether the model should not be used as it is.
    """

    law: str
    engine: str | None
    verdict: Verdict
    evidence: str
    advice: str
    blocks: bool


def examine(
    folder: Path,
    *,
    weights: bool = True,
    engines: Sequence[str] = ("hf",),
    dtype: str = "float32",
) -> Iterator[Row]:
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
    subject = Subject(folder, weights=weights, dtype=dtype)
    for law in LAWS:
        finding = _lacks(subject, law.needs) or judged(law.check, subject)
        yield _row(law.name, None, finding, optional=law.optional)
    for engine in engines:
        stage = Stage(subject, engine)
        for engine_law in ENGINE_LAWS:
            yield _row(engine_law.name, engine, judged(engine_law.check, stage))


def _row(law: str, engine: str | None, found: Finding, *, optional: bool = False) -> Row:
    bad = {Verdict.BROKEN, Verdict.UNKNOWN} | ({Verdict.REFUSED} if not optional else set())
    evidence, advice = plain(found.evidence), plain(found.advice)
    return Row(law, engine, found.verdict, evidence, advice, found.verdict in bad)


def _lacks(subject: Subject, needs: Needs) -> Finding | None:
    """Why a law has nothing to look at."""
    if needs is Needs.TEMPLATE and subject.endless:
        return unknown(
            f"the chat template renders one turn for more than {TURN_S} s",
            "Mend chat_template.jinja; the other laws are tried without it.",
        )
    if needs is Needs.TEMPLATE and not subject.tokenizer.chat_template:
        return absent("the tokenizer has no chat template; tasks give plain text")
    if needs is Needs.CONFIG and not (subject.folder / "config.json").is_file():
        return absent("the folder holds no config.json")
    if needs in (Needs.WEIGHTS, Needs.LEARNER) and not subject.weights:
        return absent("no weights are looked at")
    return None


def judged(check: Callable[[Any], Finding], on: Any) -> Finding:
    """What a law finds; if it raises, that is what is found."""
    try:
        with deadline(PATIENCE_S):
            return check(on)
    except RlpeftError as error:
        return refused(_one_line(error))
    except OvertimeError as error:
        return unknown(str(error), "A very large model, or a program in it that never ends.")
    except Exception as error:
        # Recovery: whatever a model does to a law is what the table is for.
        return unknown(
            f"{type(error).__name__}: {_one_line(error)}"[:400], "Not one of ours: see its cause."
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
