"""`rlpeft reward`: verify predictions, and try a reward out before a GPU is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import file_to_write, refuse_own_input
from rlpeft.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
from rlpeft.files import write_jsonl

app = typer.Typer(help="Verify predictions, and try rewards out.", no_args_is_help=True)

AsJsonLines = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the reward; may be repeated."),
]


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="Rows (JSONL, CSV …): `gold`, `prediction`, perhaps `id`.")
    ],
    kind: Annotated[str, typer.Option(help="Which verifier: math, choice, code ...")] = "math",
    option: Options = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=file_to_write, help="Write the verdicts to this JSONL file."),
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Verify every prediction of a file against its gold answer.

    With --json: one JSON object a row, then one with the totals.
    """
    from jobs.reward import score_file

    refuse_own_input(file, out)
    scored = score_file(file, kind=kind, options=_parse(option))
    if out is not None:
        write_jsonl(out, scored.rows)
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
    data: Annotated[
        str,
        typer.Option(
            help="File of rows (JSONL, CSV, TSV, Parquet), folder of them, or Hub dataset id."
        ),
    ],
    rows: Annotated[int, typer.Option(min=1, help="Rows to use.")] = 20,
    task: Annotated[
        str | None, typer.Option(help="Benchmark whose template the rows need, such as gsm8k.")
    ] = None,
    option: Options = None,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds a batch may take, as reward.timeout_s.")
    ] = 60.0,
    correct_at: Annotated[
        float | None, typer.Option(help="Score from which an answer is correct, as in a recipe.")
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Call a reward on real rows with right, wrong, empty, truncated and hostile completions.

    Right answers are tried in several forms, and an example of each sort is shown with its score.
    Exit code 1: a fault, the reward gives them all one score.
    """
    from rewards.scorer import RewardSpec
    from rlpeft.doctor.dry_run import dry_run

    spec = RewardSpec(reward, options=_parse(option), correct_at=correct_at, timeout_s=timeout_s)
    found = dry_run(spec, data=data, num_rows=rows, task=task)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        _print_check(found.as_dict())
    raise typer.Exit(1 if found.is_constant else 0)


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
    from rich.table import Table

    from jobs.cli.screen import Screen

    table = Table("verdict", "rows")
    for kind, count in summary["totals"].items():
        table.add_row(kind, str(count))
    console = Screen()
    console.print(table)
    mean = summary["mean_score"]
    scored = "no row scored" if mean is None else f"mean score {mean:.4f}"
    console.print(f"{summary['rows']} rows, {scored}, {summary['rows_per_s']:.0f} rows/s")


def _print_check(found: dict[str, Any]) -> None:
    from rich.table import Table

    from jobs.cli.screen import Screen
    from rlpeft.terminal import say

    console = Screen()
    console.print(f"{found['reward']}: called as {found['dialect']}")
    console.print(f"needs columns: {', '.join(found['columns']) or 'none'}")
    table = Table("completions", "verdicts", "mean score", "ms/row")
    for sort, kinds in found["kinds"].items():
        score = kinds.pop("score")
        verdicts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        shown = "-" if score is None else f"{score:.3f}"
        table.add_row(sort, verdicts, shown, f"{found['ms_per_row'][sort]:.2f}")
    console.print(table)
    _print_forms(console, found["forms"], found["form"])
    for sort, example in found["examples"].items():
        _print_example(console, sort, example)
    if found["printed"]:
        console.print("it prints: a run shows that only where it fails")
    if found["is_constant"]:
        score = found["examples"]["right"]["score"]
        say(
            f"fault: right, wrong and empty answers all get the score {score:g}, in whatever form: "
            "nothing can be learnt from a constant"
        )
    for warning in found["warnings"]:
        say(f"warning: {warning}")


def _print_forms(console: Console, forms: Mapping[str, float | None], best: str) -> None:
    console.print("right answers by form, mean score:")
    for form, score in forms.items():
        shown = "     -" if score is None else f"{score:6.3f}"
        mark = "  <- used below" if form == best else ""
        _say(console, f"  {shown}  {_visible(form.format('GOLD'))}{mark}")


def _print_example(console: Console, sort: str, example: Mapping[str, Any]) -> None:
    score = "no score" if example["score"] is None else f"score {example['score']:g}"
    _say(console, f"{sort}, gold {_visible(example['gold'])}: {example['kind']}, {score}")
    _say(console, f"  {_visible(example['completion']) or '(empty)'}")
    if example["reason"]:
        _say(console, f"  -> {_visible(example['reason'])}")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _visible(text: str, limit: int = 200) -> str:
    """One line without control characters, which would act on the terminal."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:limit])
    return shown.replace("\\x0a", "\\n") + ("…" if len(text) > limit else "")
