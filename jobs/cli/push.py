"""`rlpeft push`, and the option `--push` of the commands that make an expert."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.options import EXPERT, AsJson, BaseId, BaseName
from rlpeft.errors import HubError, RlpeftError
from rlpeft.terminal import note, quiet_libraries, say
from rlpeft.typed import program


def push(
    expert: Annotated[str, typer.Argument(help=EXPERT)],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Made if it is not there.")],
    private: Annotated[
        bool, typer.Option("--private", help="Refuse a public repository, make a private one.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Made if it is not there. Default: main.")
    ] = None,
    base: BaseName = None,
    base_id: BaseId = None,
    as_json: AsJson = False,
) -> None:
    """Push an expert to the Hub, with a model card; it is read back and compared before.

    Others load it by its id, pinned by the commit: rlpeft experts show ORG/NAME@COMMIT
    """
    from rlpeft.experts.hub_push import push_to_hub
    from rlpeft.program.hub import expert_folder

    quiet_libraries()
    found = push_to_hub(
        expert_folder(expert),
        repository,
        private=private,
        revision=revision,
        base=base,
        base_id=base_id,
    )
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    for name, size in found.files.items():
        typer.echo(f"{size:>14,}  {name}")
    for line in found.notes:
        note(line)
    say("pushed", found.url)
    say("next:", f"{program()} experts show {found.repository}@{found.commit}")


def check_push_option(repository: str | None) -> None:
    """Refuse, before a run, what would refuse the push at its end."""
    if repository is not None:
        from rlpeft.experts.hub_push import check_push

        check_push(repository)


@contextmanager
def pushing(summary: MutableMapping[str, Any], repository: str | None) -> Iterator[None]:
    """Push the expert of a run that is done, then let its end be shown: whatever comes of it.

    Raises:
        HubError: says how to push again.
    """
    error = _push_done(summary, repository) if repository is not None else None
    yield
    if error is not None:
        again = f"{program()} push {shlex.quote(str(summary['expert']))} {repository}"
        raise HubError(f"{error} The run is done and whole; to push again: {again}") from error


def _push_done(summary: MutableMapping[str, Any], repository: str) -> Exception | None:
    from rlpeft.experts.hub_push import push_to_hub

    try:
        found = push_to_hub(Path(summary["expert"]), repository)
    except (RlpeftError, OSError) as error:
        return error
    summary["pushed"] = asdict(found)
    for line in found.notes:
        note(line)
    say("pushed", found.url, err=True)
    return None
