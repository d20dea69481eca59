"""`rlpeft evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.options import AsJson, MirrorUrl, Overrides, Temperature, folder_to_write
from jobs.cluster.driver_exit import go_on_attended
from jobs.cluster.mirror import Keep, mirroring
from rlpeft.errors import ConfigError
from rlpeft.once import require_once
from rlpeft.terminal import near_path, quiet_libraries, say

if TYPE_CHECKING:
    from jobs.exams import Samples
    from rlpeft.recipe.run import Recipe


class SplitName(StrEnum):
    """Splits a task has."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


Experts = Annotated[
    list[str], typer.Argument(metavar="EXPERT…", help="Expert folders, or ids on the Hub.")
]
Recipes = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe", help="Recipe to evaluate by; may be repeated. Default: those of their runs."
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", help="Another task than the recipe's; may be repeated."),
]
Number = Annotated[int | None, typer.Option(min=1, help="How many problems of each task, at most.")]
Ks = Annotated[
    list[int] | None,
    typer.Option("--k", help="For pass@k; may be repeated. Default: the number of samples."),
]
DrawSeed = Annotated[int | None, typer.Option(min=0, help="Of the draws. Default: 0.")]
Out = Annotated[
    Path | None,
    typer.Option(
        callback=folder_to_write,
        help="Keep every completion, figures and picture here; what is unfinished continues.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(help="A Ray cluster: http://HOST:8265 or HOST:6379. Default: this process."),
]


def evaluate(
    names: Experts,
    recipes: Recipes = None,
    tasks: Tasks = None,
    overrides: Overrides = None,
    split: Annotated[SplitName, typer.Option(help="Which problems.")] = SplitName.TEST,
    num: Number = None,
    unseen: Annotated[
        bool, typer.Option(help="Pass over problems that an expert was trained on.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each problem.")] = 1,
    temperature: Temperature = 0.0,
    ks: Ks = None,
    seed: DrawSeed = None,
    out: Out = None,
    mirror: MirrorUrl = None,
    address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Compare experts with their base model on the same problems.

    One expert on one task, one greedy answer a problem: the accuracies of both. Several experts
    or tasks share engines and batches: every expert answers every task. With --samples n and
    --temperature t also pass@k and the majority's answer. Intervals take a problem as the unit,
    however many samples it has; differences from the base are paired by problem.

    Ctrl-C, then the same command with its --out, goes on.
    """
    from jobs.exams import exams_of, refuse_exams

    drawn = samples_given(
        split, num=num, unseen=unseen, samples=samples, temperature=temperature, ks=ks, seed=seed
    )
    if mirror is not None and out is None:
        raise ConfigError("--mirror keeps what --out writes, and --out is missing. Add --out DIR.")
    plain = len(names) == 1 and max(len(recipes or ()), len(tasks or ())) <= 1
    is_one = plain and out is None and samples == 1 and not temperature and not ks
    if address is not None and not is_one:
        go_on_attended()
    experts = _folders(names)
    exams = exams_of(experts, recipes or [None], tasks or [None], overrides or ())
    refuse_exams(experts, exams, drawn)
    say_beginning(f"Evaluating {', '.join(map(near_path, names))} beside the base model.")
    if is_one and len(exams) == 1:
        _one(experts[0], exams[0], drawn, address, as_json)
    else:
        if address is not None and is_one:  # of a recipe that turns out to have several tasks
            go_on_attended()
        with mirroring(mirror, out or Path()) as keep:
            _several(experts, exams, drawn, out, keep, address, as_json)


def samples_given(
    split: SplitName,
    *,
    num: int | None,
    unseen: bool,
    samples: int,
    temperature: float,
    ks: Sequence[int] | None,
    seed: int | None,
) -> Samples:
    """Which problems are answered, and how, by the command's options.

    Raises:
        ConfigError: they do not go together.
    """
    from jobs.exams import Samples

    if seed is not None and not temperature:
        raise ConfigError(f"--seed is of draws, and greedy answers have none, got {seed}.")
    return Samples(samples, temperature, tuple(ks or ()), seed or 0, split.value, num, unseen)


def _folders(names: Sequence[str]) -> list[Path]:
    """Of the experts, each given once."""
    from rlpeft.program.hub import expert_folder

    folders = [expert_folder(name) for name in names]
    require_once("evaluate must be given each expert", names, [each.resolve() for each in folders])
    return folders


def _one(
    expert: Path,
    recipe: Recipe,
    drawn: Samples,
    address: str | None,
    as_json: bool,
) -> None:
    """One expert on one task."""
    from jobs.cli.closing import accuracy_table, base_called, compared
    from jobs.cli.screen import Screen
    from jobs.evaluate import evaluate_expert
    from rlpeft.experts.measures import ITSELF

    quiet_libraries()
    found = evaluate_expert(
        expert,
        recipe,
        split=drawn.split,
        num=drawn.num,
        unseen=drawn.unseen,
        address=address,
    )
    if as_json:
        typer.echo(json.dumps(found))
        return
    kind = "accuracy" if "accuracy" in found else "score"
    base, own = found[f"base_{kind}"], found[kind]
    title = f"{found['task']}, {found['split']} problems"
    Screen().print(accuracy_table({base_called("base", found): base, "expert": own}, title=title))
    whose = base_called("its base", found)
    say(ITSELF if found["equals_base"] else compared(found["against_base"], whose))


def _several(
    experts: Sequence[Path],
    recipes: Sequence[Recipe],
    drawn: Samples,
    out: Path | None,
    keep: Keep,
    address: str | None,
    as_json: bool,
) -> None:
    """Several experts, tasks or samples."""
    from jobs.cli.console import after
    from jobs.cli.screen import Screen
    from jobs.cli.survey import survey_shown, survey_tables
    from jobs.evaluation.asked import open_survey
    from jobs.evaluation.run import evaluate_survey

    quiet_libraries()
    with (
        _folder(out) as folder,
        open_survey(experts, recipes, drawn, pins=folder) as survey,
        survey_shown(out) as on_batch,
    ):
        found = evaluate_survey(survey, folder, address=address, on_batch=after(on_batch, keep))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for shown in survey_tables(found):
        Screen().print(shown)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Where completions are kept: nowhere for longer than this command, if none is given."""
    if out is not None:
        yield out
        return
    with TemporaryDirectory(prefix="rlpeft-evaluate-") as folder:
        yield Path(folder)
