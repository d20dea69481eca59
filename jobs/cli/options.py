"""Options that several commands take, and what they refuse before any work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from rlpeft.errors import ConfigError
from rlpeft.files import check_place
from rlpeft.recipe.engines import ENGINES
from rlpeft.regular import refuse_url

RecipeName = Annotated[
    str, typer.Argument(help="A TOML or YAML file, or the name of a packaged recipe.")
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change the recipe; may be repeated."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


EXPERT = "Folder of an expert, or its id on the Hub: ORG/NAME or ORG/NAME@REVISION."
EXPERTS = "Folder with experts, at any depth, or an expert's id on the Hub."


Push = Annotated[
    str | None,
    typer.Option(
        "--push", metavar="ORG/NAME", help="Push the expert to the Hub when the run is done."
    ),
]


BaseName = Annotated[
    str | None, typer.Option(help="Base model, where the card's name of it does not hold here.")
]

BaseId = Annotated[
    str | None,
    typer.Option("--base-id", metavar="OWNER/NAME", help="Name by which others find the base."),
]


def greedy_or_sampled(temperature: float) -> float:
    """Refuse a temperature that no engine samples at; a Typer callback."""
    from rlpeft.recipe.rollout import COOLEST, HOTTEST

    if temperature and not COOLEST <= temperature <= HOTTEST:
        raise ConfigError(
            f"--temperature must be 0, which is greedy, or {COOLEST} to {HOTTEST}, got "
            f"{temperature!r}."
        )
    return temperature


MirrorUrl = Annotated[
    str | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Keep --out there too, after each step or batch (s3://, gs://, file:// …, "
        "as fsspec knows); where that folder is gone it is brought back from there.",
    ),
]


Temperature = Annotated[
    float,
    typer.Option(
        callback=greedy_or_sampled, help="Of the answers. 0 is greedy; 1 is the policy itself."
    ),
]


def no_url(path: Path | None) -> Path | None:
    """Refuse an `--out` in an object store; a Typer callback."""
    if path is not None:
        refuse_url(path)
    return path


def folder_to_write(path: Path | None) -> Path | None:
    """Refuse an `--out` in which no folder can be written, before any work; a Typer callback."""
    if (path := no_url(path)) is not None:
        check_place(path.expanduser(), folder=True)
    return path


def file_to_write(path: Path | None) -> Path | None:
    """Refuse an `--out` to which no file can be written, before any work; a Typer callback."""
    if (path := no_url(path)) is not None:
        check_place(path.expanduser(), folder=False)
    return path


def folder_of_experts(experts: str, model: str | None) -> Path:
    """The folder that `--experts` names; refuses one without any, and a `--model` that is none."""
    from rlpeft.models.folder import resolve_model
    from rlpeft.program.hub import expert_folder, experts_below

    root = expert_folder(experts)
    experts_below(root, option="--experts")
    if model is not None:
        resolve_model(model)
    return root


def refuse_own_input(file: Path | None, out: Path | None) -> None:
    """Refuse to write answers over what they answer.

    Raises:
        ConfigError: both are one file.
    """
    if file is None or out is None or not (file.exists() and out.exists()):
        return
    if file.samefile(out):
        raise ConfigError(f"--out must not be the file that is read, got {str(out)!r} for both.")


def one_of(names: Collection[str]) -> Any:
    """Of an option that names an entry of a table; any other is refused."""

    def known(name: str) -> str:
        if name not in names:
            listed = ", ".join(map(repr, names))
            raise typer.BadParameter(f"{name!r} is not one of {listed}.")
        return name

    return {"callback": known, "metavar": f"[{'|'.join(names)}]"}


ENGINE = one_of(ENGINES)
"""Of an option that names a rollout engine."""
