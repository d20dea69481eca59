"""`rlpeft reward`: verify predictions, and try a reward out before a GPU is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import file_to_write, refuse_own_input
from rlpeft.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from rlpeft.doctor.dry_run import DryRun
from rlpeft.files import write_jsonl
from rlpeft.terminal import score_shown

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
    reward: Annotated[
        str,
        typer.Argument(
            metavar="REWARD|RECIPE",
            help="A reward as a recipe names it, on --data; or a recipe, all whose rewards are "
            "tried on its own rows, prompts and options.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="File of rows (JSONL, CSV, TSV, Parquet), folder of them, or Hub dataset id."
        ),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to use.")] = 20,
    task: Annotated[
        str | None, typer.Option(help="Benchmark whose template the rows need, such as gsm8k.")
    ] = None,
    option: Options = None,
    timeout_s: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds a batch may take, as reward.timeout_s.")
    ] = None,
    correct_at: Annotated[
        float | None, typer.Option(help="Score from which an answer is correct, as in a recipe.")
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Call a reward on real rows with right, wrong, empty, truncated and hostile completions.

    Right answers are tried in several forms, and an example of each sort is shown with its score.
    Exit code 1: a fault, the reward gives them all one score, or none.
    """
    if _is_recipe(reward):
        given = {"--data": data, "--task": task, "--option": option, "--correct-at": correct_at}
        tried = _of_recipe(reward, rows, given | {"--timeout-s": timeout_s})
    else:
        limits = {} if timeout_s is None else {"timeout_s": timeout_s}
        options = {"options": _parse(option), "correct_at": correct_at, **limits}
        tried = _alone(reward, options, data, rows, task)
    is_useless = False
    for found in tried:
        if as_json:
            typer.echo(json.dumps(found.as_dict()))
        else:
            _print_check(found.as_dict(), found.fault)
        is_useless = is_useless or bool(found.fault)
    raise typer.Exit(1 if is_useless else 0)


def _alone(
    name: str, options: Mapping[str, Any], data: str | None, rows: int, task: str | None
) -> Iterator[DryRun]:
    """One reward on rows of a file."""
    from rewards.scorer import RewardSpec
    from rlpeft.doctor.dry_run import dry_run

    if data is None:
        raise ConfigError(f"--data must name the rows to try {name!r} on; or name a recipe.")
    yield dry_run(RewardSpec(name, **options), data=data, num_rows=rows, task=task)


def _is_recipe(name: str) -> bool:
    from jobs.recipes import recipe_names
    from rlpeft.recipe.yaml import ENDINGS

    return name.endswith((".toml", ".json", *ENDINGS)) or name in recipe_names()


def _of_recipe(name: str, rows: int, given: Mapping[str, Any]) -> Iterator[DryRun]:
    """Every reward of a recipe, in which stands all that flags would say."""
    from jobs.recipes import read_recipe
    from rlpeft.doctor.dry_run import dry_runs

    if beside := [flag for flag, value in given.items() if value is not None]:
        raise ConfigError(
            f"{beside[0]} must be left out beside a recipe, which says it itself, got {name!r}. "
            "Name the reward alone to try it otherwise."
        )
    return dry_runs(read_recipe(name), rows)


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


def _print_check(found: dict[str, Any], fault: str) -> None:
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
        shown = "-" if score is None else score_shown(score)
        table.add_row(sort, verdicts, shown, f"{found['ms_per_row'][sort]:.2f}")
    console.print(table)
    _print_forms(console, found["forms"], found["form"])
    for sort, example in found["examples"].items():
        _print_example(console, sort, example)
    if found["printed"]:
        console.print("it prints: a run shows that only where it fails")
    if fault:
        say(f"fault: {fault}")
    for warning in found["warnings"]:
        say(f"warning: {warning}")


def _print_forms(console: Console, forms: Mapping[str, float | None], best: str) -> None:
    _say(console, "how may an answer be written? The gold one in each form, and its mean score:")
    is_chosen = len(set(forms.values())) > 1
    for form, score in forms.items():
        shown = "     -" if score is None else f"{score:6.3f}"
        mark = "  <- used below" if is_chosen and form == best else ""
        _say(console, f"  {shown}  {_visible(form.format('GOLD'))}{mark}")

    if is_chosen:
        _say(
            console, "have the prompt ask for a form that scores: in others right answers are lost"
        )


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
