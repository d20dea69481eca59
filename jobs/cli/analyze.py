"""`rlpeft analyze`: what a model looks like before an adapter is chosen for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import folder_to_write
from rlpeft.errors import ConfigError
from rlpeft.terminal import say

app = typer.Typer(help="Measure base models and mixtures.", no_args_is_help=True)


@app.callback()
def analyze() -> None:
    """Measure base models and mixtures."""


@app.command()
def hyperbolicity(
    model: Annotated[str, typer.Argument(help="A base model, as in a recipe's model.name.")],
    data: Annotated[Path, typer.Option(help="JSONL file of questions.")],
    column: Annotated[str, typer.Option(help="Column that holds the text.")] = "question",
    questions: Annotated[int, typer.Option(min=1, help="Questions to sample.")] = 100,
    layers: Annotated[str, typer.Option(help="Layers, such as 0,8,16; 0: embeddings.")] = "0",
    out: Annotated[
        Path | None, typer.Option(callback=folder_to_write, help="Folder for JSON and pictures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare the tree-likeness of a model's tokens with three kinds of chance."""
    from jobs.studies.hyperbolicity import analyse_hyperbolicity, as_dict, sentence, table, write
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    report = analyse_hyperbolicity(
        model, data, column=column, num_questions=questions, layers=_numbers(layers, "--layers")
    )
    if out is not None:
        write(report, out)
    if as_json:
        typer.echo(json.dumps(as_dict(report)))
        return
    from jobs.cli.screen import Screen

    Screen().print(table(report))
    for found in report.layers:
        say(sentence(found))
    law = report.power_law
    say(
        f"Token counts: power law with exponent {law.alpha:.2f} from {law.xmin} occurrences up "
        f"({law.num_tail} tokens). Norm against frequency: rank correlation "
        f"{report.norm_rank_correlation:+.2f}."
    )
    if report.num_left_out:
        say(f"Left out: {report.num_left_out} questions with fewer than 4 tokens.", err=True)


@app.command()
def spectrum(
    model: Annotated[str, typer.Argument(help="A base model, as in a recipe's model.name.")],
    top: Annotated[str, typer.Option(help="Numbers of components, such as 16,64,256.")] = (
        "16,64,256"
    ),
    out: Annotated[
        Path | None,
        typer.Option(callback=folder_to_write, help="Folder for CSV, JSON and a picture."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Show how much of each weight its largest singular values hold."""
    from jobs.studies.spectrum import analyse_spectrum, as_dicts, table, write
    from rlpeft.terminal import quiet_libraries

    quiet_libraries()
    found = analyse_spectrum(model, _numbers(top, "--top"))
    if out is not None:
        write(found, out)
    if as_json:
        typer.echo(json.dumps(as_dicts(found)))
        return
    from jobs.cli.screen import Screen

    Screen().print(table(model, found))
    say("A low-rank adapter of rank r reaches r directions of a weight; SVF scales all of them.")


@app.command()
def mixtures(
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Folders with mixed experts. Default: runs")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(callback=folder_to_write, help="Folder for a CSV and pictures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Show what searches found: coefficients by task, and accuracy by budget."""
    from jobs.studies.mixtures import as_dicts, read_mixtures, table, write

    found = read_mixtures(roots or [Path("runs")])
    if out is not None:
        write(found, out)
    if as_json:
        typer.echo(json.dumps(as_dicts(found)))
        return
    from jobs.cli.screen import Screen

    Screen().print(table(found))


def _numbers(text: str, option: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise ConfigError(f"{option} must be whole numbers with commas between, got {text!r}.")
    return tuple(dict.fromkeys(int(part) for part in parts))
