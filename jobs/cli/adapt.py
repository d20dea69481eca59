"""`rlpeft adapt`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.flags import (
    DataFlag,
    ExpertFlag,
    ModelFlag,
    RecipeOrNone,
    RewardFlag,
    say_assumed_search,
    search_given,
)
from jobs.cli.options import MirrorUrl, Overrides, Push, folder_to_write
from jobs.cli.push import check_push_option, pushing
from jobs.cluster.mirror import Keep, mirroring
from rlpeft.terminal import (
    labelled,
    near_path,
    quiet_libraries,
    say,
    score_shown,
    terminal_width,
)
from rlpeft.typed import program, this_command, without

if TYPE_CHECKING:
    from rlpeft.recipe.adapt import AdaptRecipe

SearchOut = Annotated[
    Path | None,
    typer.Option(
        callback=folder_to_write,
        help="Folder of the search; an unfinished one continues. Default: runs/NAME.",
    ),
]
Unseen = Annotated[
    bool,
    typer.Option("--unseen", help="Judge by test problems alone that no expert was trained on."),
]
Light = Annotated[bool, typer.Option("--light", help="A small budget: 3 shots and 10 iterations.")]


def adapt(
    recipe: RecipeOrNone = None,
    model: ModelFlag = None,
    data: DataFlag = None,
    reward: RewardFlag = None,
    experts: ExpertFlag = None,
    overrides: Overrides = None,
    light: Light = False,
    out: SearchOut = None,
    unseen: Unseen = False,
    mirror: MirrorUrl = None,
    push: Push = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Mix experts for a task that none was trained for, by a handful of labelled examples.

    Searches the coefficients that answer the shots best, writes the mixture as an ordinary expert
    with its parents and history on its card, and judges it once on the task's test split, beside
    the base, each expert and their uniform mixture. Started again, it continues.

    rlpeft adapt tiny-mix --set shots.number=20

    Without a recipe: rlpeft adapt --experts runs --model tiny --data rows.csv --reward exact
    """
    from jobs.cluster.travel import run_folder

    changes = all_overrides(overrides, light=light)
    found = search_given(recipe, changes, model=model, data=data, reward=reward, experts=experts)
    check_push_option(push)
    folder = run_folder(out, found.name)
    with mirroring(mirror, folder) as keep:
        _refuse(found, folder)
        say_beginning(f"{found.name}: searching {searched(found)}.")
        if recipe is None:
            say_assumed_search(found)
        summary = _searched(found, folder, keep, unseen=unseen)
    with pushing(summary, push):
        # More of them cannot be drawn where a file names the shots themselves.
        larger = "" if found.shots.path else _larger(summary, folder)
        print_summary(summary, as_json=as_json, larger=larger)


def _searched(recipe: AdaptRecipe, folder: Path, keep: Keep, *, unseen: bool) -> dict[str, Any]:
    """Search where a person sees how far it is."""
    from jobs.adapt import run
    from jobs.cli.console import after, run_shown
    from rlpeft.search.few_shot import total_iterations

    quiet_libraries()
    with run_shown(folder, total_iterations(recipe), unit="iteration") as display:
        return run(recipe, folder, on_iteration=after(display.step, keep), unseen=unseen)


def _refuse(recipe: AdaptRecipe, folder: Path) -> None:
    """Refuse what files alone tell."""
    from rlpeft.doctor.early import refuse_early
    from rlpeft.doctor.own_rewards import refuse_absent
    from rlpeft.experts.files import read_card
    from rlpeft.experts.hub import on_hub
    from rlpeft.experts.names import require_own_names
    from rlpeft.models.folder import resolve_model
    from rlpeft.program.hub import experts_below

    refuse_absent(reward.name for reward in recipe.rewards)
    refuse_early(recipe, folder, method="adapt")
    resolve_model(recipe.model.name)
    here = [Path(root).expanduser() for root in recipe.experts if not on_hub(root)]
    found = [folder for root in here for folder in experts_below(root, option="experts")]
    # Where they are of several bases, only the search knows which are left out.
    if len({read_card(folder).base_digest for folder in found}) == 1:
        require_own_names({folder.resolve(): folder for folder in found}.values())


def _larger(summary: Mapping[str, Any], folder: Path) -> str:
    """The command that searches on twice as many shots."""
    number = 2 * summary["shots"]["number"]
    other = shlex.quote(f"{near_path(str(folder))}-{number}-shots")
    anew = without("--mirror", without("--out", sys.argv))
    return f"{this_command(anew)} --set shots.number={number} --out {other}"


ARM_WORDS = {
    "per vector": "one an expert",
    "per matrix": "one an expert and matrix, their means",
    "normalised": "shares of 1",
    "free": "not divided by their sum",
}
"""What the coefficients are, by the words of `rlpeft.search.few_shot.Arm`."""


def all_overrides(overrides: list[str] | None, *, light: bool) -> list[str]:
    """`--light` first, so that a `--set` may still change it."""
    from rlpeft.recipe.adapt import LIGHT

    return [*(LIGHT if light else ()), *(overrides or ())]


def searched(recipe: AdaptRecipe) -> str:
    """What a search tries, and what each figure of its progress means."""
    return (
        f"a mixture of experts that does best on the shots, a few labelled examples; each "
        f"iteration tries {recipe.search.population_size}. Shown are the best mixture so far and "
        "the mean one of an iteration, each by what it makes of the shots (right answers, or their "
        "score), and how far the coefficients that are tried spread (standard deviation)"
    )


def print_summary(summary: Mapping[str, Any], *, as_json: bool, larger: str = "") -> None:
    """The table, the facts that a finished search ends with, and what can be typed next.

    Args:
        larger: a command that searches on more shots, where there is one.
    """
    if as_json:
        typer.echo(json.dumps(summary))
        return
    from jobs.cli.closing import accuracy_table, compared
    from jobs.cli.screen import Screen
    from rlpeft.experts.ties import said_of_ties

    table = accuracy_table(summary["test"], title=f"{summary['name']}: test {{}}")
    Screen().print(table)
    shots = summary["shots"]
    if summary.get("equals_base"):
        why = "" if shots.get("tied") else ": none did better on the shots"
        say(
            f"The mixture found is the base model{why}. More shots, or experts of other skills, "
            "may find another."
        )
    else:
        say(compared(summary.get("against_base"), ours="mixture"))
    if shots.get("tied"):
        say(said_of_ties(shots))
    for label, value in _facts(summary, larger):
        whole = label in ("expert", "history", "next")
        typer.echo(labelled(label, value, column=15, width=terminal_width(), whole=whole))


def _facts(summary: Mapping[str, Any], larger: str) -> Iterator[tuple[str, str]]:
    """What a search found, with its labels."""
    shots, expert = summary["shots"], near_path(summary["expert"])
    # Searches of before kept them as they were searched, not as they count.
    shares = summary.get("shares", summary["coefficients"])
    weights = ", ".join(f"{name} {value:.3f}" for name, value in shares.items())
    meaning = ", ".join(ARM_WORDS[word] for word in summary["arm"].split(", "))
    yield "coefficients", f"{weights} ({meaning})"
    # Of several samples a shot it is a mean, and no count of shots.
    yield f"on {shots['number']} shots", _fitness(shots)
    for arm, found in summary["cross_validation"].items():
        yield "unseen shots", f"{_fitness(found)} {arm}"
    yield "expert", expert
    yield "history", near_path(summary["history"])
    out = shlex.quote(f"{Path(summary['expert']).absolute().parent.name}-merged")  # of this search
    export = f"{program()} export {shlex.quote(expert)} --out {out}"
    if summary.get("equals_base"):
        export = ""
    if following := larger if not export or shots.get("tied") else export:
        yield "next", following


def _fitness(found: Mapping[str, Any]) -> str:
    if "accuracy" in found:
        return f"{found['accuracy']:.1%}"
    return f"mean score {score_shown(found['score'])}"
