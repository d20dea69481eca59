"""The command that tries every law on a base model, as `rlpeft models check` knows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from jobs.cli.examined import examined
from jobs.cli.options import one_of
from jobs.cli.screen import Screen
from rlpeft.model_checks import OWN_ENGINE
from rlpeft.recipe.engines import ENGINES

if TYPE_CHECKING:
    from rlpeft.model_checks.examine import Examined

COLOURS = {
    "holds": "green",
    "does not apply": "dim",
    "refused": "yellow",
    "does not hold": "bold red",
    "could not be checked": "bold red",
}


COLUMNS = 80


TRIED = (OWN_ENGINE, *(name for name, engine in ENGINES.items() if engine.bare))
"""Engines that laws are tried on."""


class Dtype(StrEnum):
    """Of the weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def check(
    model: Annotated[
        str, typer.Argument(help="A folder, a Hub id, or a name of `rlpeft models list`.")
    ],
    engine: Annotated[
        str,
        typer.Option(**one_of(TRIED), help=f"Try it beside {OWN_ENGINE}, which is always tried."),
    ] = OWN_ENGINE,
    tokenizer_only: Annotated[
        bool,
        typer.Option("--tokenizer-only", help="Leave the weights alone, as where there are none."),
    ] = False,
    dtype: Annotated[Dtype, typer.Option(help="Dtype of the weights.")] = Dtype.FLOAT32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Try every law of text, chat, ends and numbers on a base model; exit 1 if one is broken.

    A refused law means that runs which need it end at their start, with the line that is shown.
    """
    from rlpeft.errors import ModelError, RlpeftError
    from rlpeft.model_checks.examine import examine
    from rlpeft.models.folder import model_parts
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    rows: list[Examined] = []
    try:
        if not model.strip():
            raise ModelError("MODEL must be a folder, a Hub id or a name, got ''.")
        folder, weights = model_parts(model, weights=not tokenizer_only)
        engines = tuple(dict.fromkeys((OWN_ENGINE, engine)))
        with Screen(stderr=True).status("examining the tokenizer") as status:
            for row in examine(folder, weights=weights, engines=engines, dtype=dtype.value):
                rows.append(row)
                status.update(f"examined {row.law}")
    except RlpeftError as error:
        if as_json:
            typer.echo(json.dumps({**document(model, False, rows), "error": str(error)}))
        raise
    sound = not any(row.blocks for row in rows)
    if as_json:
        typer.echo(json.dumps(document(model, sound, rows)))
    else:
        Screen().print(table(rows))
        typer.echo(conclusion(rows))
    raise typer.Exit(0 if sound else 1)


def document(model: str, sound: bool, rows: Sequence[Examined]) -> dict[str, Any]:
    """What `--json` prints."""
    return {"model": model, "ok": sound, "laws": [asdict(row) for row in rows]}


def table(rows: Sequence[Examined]) -> RenderableType:
    """A row for each law; what to do stands below what was found."""
    named = ((_named(row), row.verdict, row.evidence, row.advice) for row in rows)
    return examined(("law", "evidence"), named, COLOURS)


def _named(row: Examined) -> str:
    return row.law if row.engine is None else f"{row.law} ({row.engine})"


def conclusion(rows: Sequence[Examined]) -> str:
    """What the table says, in a sentence."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in COLOURS}
    several = {"holds": "hold", "does not apply": "do not apply", "does not hold": "do not hold"}
    told = ", ".join(
        f"{count} {verdict if count == 1 else several.get(verdict, verdict)}"
        for verdict, count in counts.items()
        if count
    )
    end = "see the rows above before you train" if any(row.blocks for row in rows) else "sound"
    return fill(f"{len(rows)} laws: {told}: {end}", COLUMNS)
