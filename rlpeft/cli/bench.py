"""`rlpeft bench`: measured figures beside their peers, floors and goals."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Annotated

import typer

from jobs.bench import BENCHES
from rlpeft.errors import ConfigError


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHES)}; all if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Measure ratios against named peers, in one run each. Leave the machine alone meanwhile.

    Plan an hour for all of them on two cores; each prints its rows when it is done.
    """
    chosen = names or list(BENCHES)
    for name in chosen:
        if name not in BENCHES:
            raise ConfigError(f"bench must be one of {', '.join(BENCHES)}, got {name!r}.")
    from rich.console import Console

    from jobs.bench.rows import apart, as_dicts, table

    rows = []
    for at, name in enumerate(chosen, start=1):
        with Console(stderr=True).status(f"measuring {name} ({at} of {len(chosen)}) …"):
            found = apart(import_module(BENCHES[name]).rows)
        rows += found
        if not as_json:
            Console().print(table(found))
    if as_json:
        typer.echo(json.dumps(as_dicts(rows)))
