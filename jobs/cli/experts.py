"""`rlpeft experts`: which experts there are, what each changes, and how they differ."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.cli.beginning import say_beginning
from jobs.cli.options import EXPERT, folder_to_write
from jobs.cli.screen import Screen
from rlpeft.errors import ExpertError
from rlpeft.once import require_once
from rlpeft.terminal import UNLIMITED, labelled, near_path, paragraph, say, terminal_width
from rlpeft.typed import program, typeable

if TYPE_CHECKING:
    from rlpeft.experts.change import Difference
    from rlpeft.experts.files import Expert

app = typer.Typer(help="Trained experts.", no_args_is_help=True)

AS_JSON = typer.Option("--json", help="Print one JSON document.")
NUM_MODULES = 8
"""Modules that `compare` prints for a pair; `--json` has all."""


@app.command("list")
def list_experts(
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Folders to look in. Default: runs")
    ] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the experts below some folders."""
    roots = roots or [Path("runs")]
    for root in roots:
        if not root.is_dir():
            raise ExpertError(
                f"experts are looked for in folders, {str(root)!r} is none. Name the folder that "
                "holds your runs."
            )
    rows = [row for root in roots for row in _rows(root)]
    if as_json:
        typer.echo(json.dumps(rows))
    elif not rows:
        where = ", ".join(map(str, roots))
        say(f"no experts in {where}; make one with:", typeable("rlpeft train quickstart"))
    else:
        _print(_listed(rows, terminal_width()))
        say(
            "cards alone were read; tensors are verified by:",
            typeable("rlpeft experts show EXPERT"),
        )


@app.command()
def show(
    expert: Annotated[str, typer.Argument(help=EXPERT)],
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show an expert's card, and what it changes by kind of module."""
    from rlpeft.experts.files import load_expert, read_card
    from rlpeft.experts.hub import on_hub

    if not on_hub(expert):  # which takes longer to ask than libraries do to load
        read_card(Path(expert))
    say_beginning(f"Reading {near_path(expert)}.")
    from rlpeft.experts.change import changes, kind_stats, legend
    from rlpeft.program.hub import expert_folder

    found = load_expert(expert_folder(expert))
    card = found.card.model_dump(mode="json")
    try:
        stats = [asdict(each) for each in kind_stats(changes(found))]
    except ExpertError as error:  # of a geometric adapter: the card is all there is to show
        if as_json:
            typer.echo(json.dumps({"card": card, "change": None, "refusal": str(error)}))
            return
        _print(_card(card, terminal_width()))
        _print(Text(f"\n{paragraph(str(error), width=terminal_width())}"))
        return
    if as_json:
        typer.echo(json.dumps({"card": card, "change": stats}))
        return
    _print(_card(card, terminal_width()))
    _print(Text(f"\n{paragraph(legend(), width=terminal_width())}"))
    _print(_stats_table(stats))


@app.command()
def compare(
    experts: Annotated[
        list[str], typer.Argument(help="Folders of two or more experts, or ids on the Hub.")
    ],
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Compare experts: accuracy, angle between their changes, and distance by module."""
    from rlpeft.experts.change import difference
    from rlpeft.experts.files import load_expert
    from rlpeft.experts.hub import known_as
    from rlpeft.program.hub import expert_folder

    if len(experts) < 2:
        raise ExpertError(f"compare needs at least two experts, got {len(experts)}.")
    folders = [expert_folder(name) for name in experts]
    require_once("compare must be given each expert", experts, [at.resolve() for at in folders])
    found = {known_as(folder): load_expert(folder) for folder in folders}
    pairs = {
        (first, second): difference(found[first], found[second])
        for first, second in combinations(found, 2)
    }
    if as_json:
        typer.echo(json.dumps(_compare_document(found, pairs)))
        return
    cards = [_card_row(name, e.card.model_dump()) for name, e in found.items()]
    _print(_listed(cards, terminal_width()))
    for (first, second), each in pairs.items():
        said = f"{first} and {second}: cosine of their changes {each.cosine:+z.3f}"
        _print(Text(paragraph(said, width=terminal_width())))
        _print(_difference_table(each))


@app.command("transfer")
def transfer_expert(
    expert: Annotated[str, typer.Argument(help=EXPERT)],
    to: Annotated[
        str, typer.Option("--to", help="The other base model.", metavar="MODEL", show_default=False)
    ],
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Permute each vector: the control.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the permutation.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(callback=folder_to_write, help="Folder to write. Default: beside the expert."),
    ] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Give an expert's vectors to another base model of the same modules and ranks.

    Judge it there with `rlpeft evaluate`, beside the control: the same numbers in other places.

    rlpeft experts transfer runs/swap/expert --to ./other-base --shuffle
    """
    from rlpeft.experts.hub import fetched_from
    from rlpeft.experts.transfer import transfer
    from rlpeft.program.hub import expert_folder

    suffix, source = "-shuffled" if shuffle else "", expert_folder(expert)
    if out is None and fetched_from(source):
        raise ExpertError(f"--out must be given for an expert of the Hub, {expert!r} is one.")
    folder = out or source.with_name(f"{source.name}-on-{Path(to).name}{suffix}")
    if folder.exists():
        raise ExpertError(f"--out must be a new folder, {str(folder)!r} is there already.")
    card = transfer(source, to, folder, shuffle_seed=seed if shuffle else None)
    if as_json:
        typer.echo(json.dumps({"expert": str(folder), "card": card.model_dump(mode="json")}))
        return
    say(f"wrote for base {card.base_model}:", str(folder))
    changed = shlex.quote(f"model.name={to}")
    evaluate = f"evaluate {shlex.quote(str(folder))} --recipe RECIPE --set {changed}"
    say("next:", f"{program()} {evaluate}")


def _rows(root: Path) -> list[dict[str, Any]]:
    from rlpeft.experts.files import find_experts, lacking

    rows = {folder: _row(folder) for folder in find_experts(root)}
    for folder, missing in lacking(root).items():
        rows[folder] = {"path": str(folder), "error": f"damaged: there is no {missing}"}
    return [rows[folder] for folder in sorted(rows)]


def _row(folder: Path) -> dict[str, Any]:
    from rlpeft.experts.files import read_card

    try:
        return _card_row(str(folder), read_card(folder).model_dump(mode="json"))
    except ExpertError as error:
        # One damaged expert must not hide the others; it is listed as what it is.
        return {"path": str(folder), "error": str(error)}


def _card_row(path: str, card: Mapping[str, Any]) -> dict[str, Any]:
    row = {key: card[key] for key in ("name", "base_model", "step", "digest", "base_digest")}
    accuracies = {key: card[key] for key in ("validation", "test", "base_test")}
    path_of_rows = card["task"].get("path")
    task = Path(path_of_rows).name if path_of_rows else card["task"].get("name")
    method = card["adapter"].get("type")
    return {
        "path": path,
        **row,
        "method": method,
        "task": task,
        "equals": _same(card),
        **accuracies,
    }


def _same(card: Mapping[str, Any]) -> str | None:
    """What an expert is that no step has moved; `None` of one that is something of its own."""
    start = card["start"]
    if start is not None and start["digest"] == card["digest"]:
        return f"the expert it started from, {start['name']}"
    return "the base model" if card["equals_base"] else None


def _listed(rows: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """A table, or where it is too wide a few lines for each expert."""
    table = _list_table(rows)
    if Screen(width=UNLIMITED).measure(table).maximum <= width:
        return table
    return Group(*(Text(line) for row in rows for line in _expert_lines(row, width)))


def _expert_lines(row: Mapping[str, Any], width: int) -> list[str]:
    if "error" in row:
        return [row["path"], paragraph(row["error"], width=width, indent="  ", hanging="  ")]
    what = f"{row['method']} on {row['base_model']}, {row['task']}, step {_step(row)}"
    test, base = (_accuracy(row[key]).plain for key in ("test", "base_test"))
    each = (what, f"test {test}, base {base}")
    return [row["path"], *(paragraph(t, width=width, indent="  ", hanging="    ") for t in each)]


def _list_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("expert", "method", "base", "task", "step", "test", "base test"):
        table.add_column(heading)
    for row in rows:
        if "error" in row:
            table.add_row(Text(row["path"]), Text(row["error"], style="red"))
            continue
        cells = (row["path"], row["method"], row["base_model"], row["task"], _step(row))
        table.add_row(
            *(Text(str(cell)) for cell in cells),
            *(_accuracy(row[key]) for key in ("test", "base_test")),
        )
    return table


def _step(row: Mapping[str, Any]) -> str:
    """The step of an expert, and what it is if that has moved nothing."""
    return f"{row['step']} (is {row['equals']})" if row["equals"] else f"{row['step']}"


def _accuracy(found: Mapping[str, Any] | None) -> Text:
    if found is None:
        return Text("-")
    from rlpeft.experts.measures import read_measure

    return Text(f"{'' if 'correct' in found else 'score '}{read_measure(found)}")


LABEL_COLUMN = 15
"""Where the values of a card begin."""

FIRST_ROWS = (
    *("name", "test", "base_test", "against_base", "validation"),
    *("task", "rewards", "correct_at", "base_model", "adapter"),
)
"""Rows of a card that tell most; the others follow in the card's own order."""


def _card(card: Mapping[str, Any], width: int) -> RenderableType:
    from rlpeft.experts.measures import ITSELF, PairedDifference

    shown: list[RenderableType] = []
    first = [key for key in FIRST_ROWS if key in card]  # what says nothing may be left out
    for key in (*first, *(key for key in card if key not in FIRST_ROWS)):
        value = card[key]
        if key == "start_test" and value is None:  # a fresh adapter, or not tested
            continue
        if key == "tasks":
            rows = {f"task {label}": _of_task(part, card) for label, part in value.items()}
            shown += [
                Text(labelled(*row, column=LABEL_COLUMN, width=width)) for row in rows.items()
            ]
            continue
        is_measure = key in ("validation", "test", "base_test", "start_test")
        is_difference = key in ("against_base", "against_start") and value is not None
        plain = _section(value) if key == "task" else _plain(value)
        told = str(PairedDifference(**value)) if is_difference else plain
        if key == "against_base" and card["equals_base"]:
            told = ITSELF
        if text := _accuracy(value).plain if is_measure else told:
            name = key.replace("_", " ")
            shown.append(Text(labelled(name, text, column=LABEL_COLUMN, width=width)))
        if is_measure and value and value.get("confusion"):
            shown.append(_confusion_table(value["confusion"]))
    return Group(*shown)


def _of_task(part: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """What a card says of one of several tasks: its figures, and its section."""
    from rlpeft.experts.measures import PairedDifference

    known = {"test": part["test"], "base test": part["base_test"], "validation": part["validation"]}
    figures = [f"{name} {_accuracy(found).plain}" for name, found in known.items() if found]
    if part["against_base"] is not None and not card["equals_base"]:
        figures.append(f"against base {PairedDifference(**part['against_base'])}")
    return "; ".join([*figures, _section(part["section"])])


def _section(task: Mapping[str, Any]) -> str:
    """The section of a task, with its file for a name where it has no other."""
    from rlpeft.recipe.task import task_called

    return _plain({**task, "name": task_called(task)})


def _plain(value: Any) -> str:
    """A value of a card as one reads it aloud; empty where there is nothing to say.

    >>> _plain({"name": "tiny/swap", "path": None, "options": {"seed": 1}, "targets": ["a", "b"]})
    'name tiny/swap, options (seed 1), targets a b'
    """
    if isinstance(value, Mapping):
        said = {key: _plain(inner) for key, inner in value.items()}
        nested = {key for key, inner in value.items() if isinstance(inner, Mapping)}
        return ", ".join(
            f"{key} {f'({text})' if key in nested else text}" for key, text in said.items() if text
        )
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _confusion_table(confusion: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("gold, said")
    for label in next(iter(confusion.values())):
        table.add_column(Text(label), justify="right")
    for gold, row in confusion.items():
        table.add_row(Text(gold), *(str(count) for count in row.values()))
    return table


def _stats_table(stats: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("kind", "modules", "numbers", "smallest", "largest", "rms"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for each in stats:
        table.add_row(
            Text(each["kind"]),
            f"{each['num_modules']:,}",
            f"{each['num_values']:,}",
            f"{each['low']:+z.4f}",
            f"{each['high']:+z.4f}",
            f"{each['rms']:.4f}",
        )
    return table


def _compare_document(
    found: Mapping[str, Expert], pairs: Mapping[tuple[str, str], Difference]
) -> dict[str, Any]:
    return {
        "experts": [_card_row(name, e.card.model_dump(mode="json")) for name, e in found.items()],
        "pairs": [
            {"first": first, "second": second, **asdict(each)}
            for (first, second), each in pairs.items()
        ],
    }


def _difference_table(found: Difference) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column(f"the {min(NUM_MODULES, len(found.distances))} modules furthest apart")
    table.add_column("rms distance", justify="right")
    for module in sorted(found.distances, key=found.distances.__getitem__, reverse=True)[
        :NUM_MODULES
    ]:
        table.add_row(Text(module), f"{found.distances[module]:.4f}")
    return table


def _print(shown: RenderableType) -> None:
    # As wide as it needs to be, never folded: paths are there to be copied.
    Screen(width=UNLIMITED).print(shown)
