"""`rlpeft reward`: verify predictions, and try a reward out before a GPU is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.command import file_to_write
from rlpeft.errors import ConfigError
from rlpeft.files import write_text

app = typer.Typer(help="Verify predictions, and try rewards out.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the reward; may be repeated."),
]


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="JSONL with `gold`, `prediction`, perhaps `id`.")],
    kind: Annotated[str, typer.Option(help="Which verifier: math, choice, code ...")] = "math",
    option: Options = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=file_to_write, help="Write the verdicts to this JSONL file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every prediction of a file against its gold answer.

    With --json: one JSON object a row, then one with the totals.
    """
    from jobs.reward import score_file

    scored = score_file(file, kind=kind, options=_parse(option))
    if out is not None:
        write_text(out, "".join(json.dumps(row) + "\n" for row in scored.rows))
    if as_json:
        for row in scored.rows if out is None else ():
            typer.echo(json.dumps(row))
        typer.echo(json.dumps(scored.summary))
        return
    for row in scored.rows if out is None else ():
        line = f"{row['id']}\t{row['kind']}\t{row['score']}\t{row['reason']}"
        # Half a surrogate pair is legal JSON and illegal UTF-8.
        typer.echo(line.encode(errors="backslashreplace").decode())
    _print_totals(scored.summary)


@app.command()
def check(
    reward: Annotated[str, typer.Argument(help="A reward as a recipe names it.")],
    data: Annotated[str, typer.Option(help="JSONL file, folder of them, or Hub dataset id.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows to use.")] = 20,
    task: Annotated[
        str | None, typer.Option(help="Benchmark whose template the rows need, such as gsm8k.")
    ] = None,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Call a reward on real rows with right, wrong, empty, truncated and hostile completions."""
    from dataclasses import asdict

    from jobs.reward import check_reward

    found = check_reward(reward, data=data, num_rows=rows, options=_parse(option), task=task)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _print_check(asdict(found))


def _parse(options: list[str] | None) -> dict[str, Any]:
    """Read `key=value` pairs; a value is JSON if it can be, text if not."""
    parsed: dict[str, Any] = {}
    for option in options or ():
        key, equals, text = option.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--option must be KEY=VALUE, got {option!r}.")
        try:
            parsed[key] = json.loads(text)
        except ValueError:
            # Recovery: `policy=lenient` is text, as it would be in TOML with quotes.
            parsed[key] = text
    return parsed


def _print_totals(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("verdict", "rows")
    for kind, count in summary["totals"].items():
        table.add_row(kind, str(count))
    console = Console()
    console.print(table)
    mean = summary["mean_score"]
    scored = "no row scored" if mean is None else f"mean score {mean:.4f}"
    console.print(f"{summary['rows']} rows, {scored}, {summary['rows_per_s']:.0f} rows/s")


def _print_check(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{found['reward']}: called as {found['dialect']}")
    console.print(f"needs columns: {', '.join(found['columns']) or 'none'}")
    table = Table("completions", "verdicts", "mean score", "ms/row")
    for sort, kinds in found["kinds"].items():
        score = kinds.pop("score")
        verdicts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        shown = "-" if score is None else f"{score:.3f}"
        table.add_row(sort, verdicts, shown, f"{found['ms_per_row'][sort]:.2f}")
    console.print(table)
    console.print(f"pickles: {'yes' if found['pickles'] else 'no'}")
    for warning in found["warnings"]:
        console.print(f"[yellow]warning:[/] {warning}")
