"""`rlpeft recipe`: which options there are, and a recipe with all of them written out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.options import AsJson, Overrides
from rlpeft.errors import ConfigError
from rlpeft.terminal import paragraph, terminal_width

if TYPE_CHECKING:
    from rlpeft.recipe.adapter import Section
    from rlpeft.recipe.options import Option, OptionTable

WIDTH = 80
"""Columns of a listing where nobody looks: it is text to be read, in a pipe too."""


def recipe(
    name: Annotated[
        str | None, typer.Argument(help="A TOML or YAML file, or the name of a packaged recipe.")
    ] = None,
    overrides: Overrides = None,
    section: Annotated[
        str | None, typer.Option(help="List the options of this section alone.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema that editors read.")
    ] = False,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="List or schema of recipes of `rlpeft adapt` alone.")
    ] = False,
    study: Annotated[
        bool, typer.Option("--study", help="List or schema of studies of `rlpeft study` alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List every option of a recipe, or print a recipe with its defaults filled in.

    Editors that check TOML (taplo, Even Better TOML) read the schema where the first line of a
    recipe names it: write it by `rlpeft recipe --schema > recipe.schema.json` and begin the recipe
    with `#:schema ./recipe.schema.json`.

    rlpeft recipe quickstart --set train.steps=50
    """
    if name is not None:
        if section is not None or schema or adapt or study:
            raise ConfigError(
                f"--section, --schema, --adapt and --study take no recipe, got {name!r}."
            )
        typer.echo(_filled_in(name, overrides or (), as_json=as_json))
        return
    if overrides or (schema and section is not None):
        raise ConfigError("--set changes a recipe: name one; and a schema is of all sections.")
    if adapt and study:
        raise ConfigError("--adapt and --study are recipes of two commands, name one.")
    command = "adapt" if adapt else "study" if study else None
    if schema:
        typer.echo(json.dumps(_schema(command or "train"), indent=2, ensure_ascii=False))
        return
    tables = _tables(command, section)
    if as_json:
        typer.echo(json.dumps([asdict(table) for table in tables], ensure_ascii=False))
    else:
        typer.echo("\n".join(listing(tables, width=min(terminal_width(), WIDTH))))


def _recipe_of(command: str) -> type[Section]:
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.study import StudyRecipe
    from rlpeft.recipe.together import ExpertsRecipe

    known: dict[str, type[Section]] = {"adapt": AdaptRecipe, "study": StudyRecipe}
    return known.get(command, ExpertsRecipe)


def _schema(command: str) -> dict[str, Any]:
    from rlpeft.recipe.options import recipe_schema

    return recipe_schema(_recipe_of(command), title=f"Recipe of rlpeft {command}")


def _tables(command: str | None, section: str | None) -> list[OptionTable]:
    """The options of one command's recipes; of training and adapting, if none is named."""
    from rlpeft.recipe.options import all_option_tables, of_section, option_tables
    from rlpeft.recipe.reward_options import reward_option_tables
    from rlpeft.tasks.catalogue import task_option_tables

    tables = option_tables(_recipe_of(command)) if command else all_option_tables()
    if command != "study":
        tables += [*task_option_tables(), *reward_option_tables()]
    return tables if section is None else of_section(tables, section)


def _filled_in(name: str, overrides: Iterable[str], *, as_json: bool) -> str:
    from jobs.recipes import read_either_recipe
    from rlpeft.recipe.run import TaskConfig
    from rlpeft.recipe.toml import filled_in
    from rlpeft.tasks.catalogue import require_known

    found = read_either_recipe(name, tuple(overrides))
    for task in [found.task] if isinstance(found.task, TaskConfig) else found.task:
        require_known(task)
    return found.model_dump_json() if as_json else filled_in(found)


def listing(tables: Iterable[OptionTable], *, width: int) -> Iterator[str]:
    """The lines of a listing: each option as a recipe has it, and below it what it does."""
    for number, table in enumerate(tables):
        if number:
            yield ""
        if table.section:
            yield paragraph(f"{table.header}  {table.given}", width=width, hanging="    ")
        yield paragraph(table.doc, width=width)
        for option in table.options:
            yield paragraph(_declared(option), width=width, indent="  ", hanging="      ")
            if option.doc:  # a task from outside may say nothing
                yield paragraph(option.doc, width=width, indent="      ", hanging="      ")


def _declared(option: Option) -> str:
    facts = [option.type, option.bounds, "must be given" if option.required else ""]
    value = f" = {option.default}" if option.default else ""
    return f"{option.name}{value}  ({', '.join(filter(None, facts))})"
