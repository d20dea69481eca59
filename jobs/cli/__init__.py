"""The command line: what each command is called, and how a mistake is told.

Commands import what they need when they run, so that `rlpeft --help` answers at once. A mistake
of the user is one line and exit code 1, never a traceback.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.cli import analyze, cem, compare, experts, models, ray_jobs, reward, study
from jobs.cli.adapt import adapt
from jobs.cli.bench import bench
from jobs.cli.doctor import doctor
from jobs.cli.env import env
from jobs.cli.evaluate import evaluate
from jobs.cli.export import export
from jobs.cli.generate import generate
from jobs.cli.new import new
from jobs.cli.push import push
from jobs.cli.recipe import recipe
from jobs.cli.report import report
from jobs.cli.serve import serve
from jobs.cli.sft import sft
from jobs.cli.submit import submit
from jobs.cli.train import train
from jobs.cli.warned import tell_as_notes
from jobs.cluster.driver_exit import MISTAKE
from jobs.cluster.ending import exit_code, in_one_line
from rlpeft import __version__
from rlpeft.errors import ConfigError
from rlpeft.shadow import exit_if_hidden
from rlpeft.typed import COMMAND, typeable

EPILOG = typeable("Begin with: rlpeft train quickstart")


IN_A_JOB = "in a job"
"""What a group is told by `python -m jobs.cli`: that its exit code is read by who may try again."""


class OneLineErrors(TyperGroup):
    """A group whose commands end in one line where the user made a mistake."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; refuse an option that is given twice and counts once."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _refuse_repeated(command, ctx, rest)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; turn a user's mistake into a line and exit code 1.

        In a job a cluster's fault is code 75: the same command may succeed.
        """
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = in_one_line(error)
            if line is None:
                raise
            typer.echo(line, err=True)
            raise typer.Exit(exit_code(error) if ctx.obj == IN_A_JOB else MISTAKE) from error


def _refuse_repeated(command: Any, ctx: Any, args: list[str]) -> None:
    """Of an option's values the parser keeps the last, and drops the others in silence."""
    try:
        while isinstance(command, TyperGroup):
            command, args = command.get_command(ctx, args[0]), args[1:]
        # A group takes no options after words.
        own = command.context_class(command, parent=ctx, **command.context_settings)
        given = command.make_parser(own).parse_args([*args])[-1]
    except Exception:
        return  # what is wrong there is told, in its own words, where the command itself is read
    for option, number in Counter(given).items():
        if number > 1 and option.param_type_name == "option" and _counts_once(option):
            raise ConfigError(
                f"{option.opts[0]} must be given once, got {number}: one would count, and the "
                "others be dropped."
            )


def _counts_once(option: Any) -> bool:
    return not (option.multiple or option.is_flag or option.count)


app = typer.Typer(
    cls=OneLineErrors,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def print_version(is_asked: bool) -> None:
    """Print the version and end, if it is asked for."""
    if is_asked:
        typer.echo(f"rlpeft {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Reinforcement-learning fine-tuning of language models with tiny, mixable adapters."""


app.command()(new)
app.command()(train)
app.command()(sft)
app.command(context_settings={"ignore_unknown_options": True})(submit)
for job_command in (ray_jobs.status, ray_jobs.logs, ray_jobs.stop, ray_jobs.fetch):
    app.command()(job_command)
app.command()(recipe)
app.command()(doctor)
app.command()(evaluate)
app.command()(adapt)
app.command()(generate)
app.command()(serve)
app.command()(export)
app.command()(push)
app.command()(report)
app.command()(bench)
app.command()(env)
app.add_typer(ray_jobs.app, name="jobs")
app.add_typer(cem.app, name="cem")
app.add_typer(experts.app, name="experts")
app.add_typer(analyze.app, name="analyze")
app.add_typer(compare.app, name="compare")
app.add_typer(models.app, name="models")
app.add_typer(reward.app, name="reward")
app.add_typer(study.app, name="study")


def let_flow(group: typer.Typer) -> None:
    """Let paragraphs of help flow: of all but the first, Typer keeps our source's line breaks."""
    for command in group.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(lines.split()) for lines in paragraphs)
    for member in group.registered_groups:
        let_flow(member.typer_instance or app)


let_flow(app)


def main(place: str | None = None) -> None:
    """Entry point of the `rlpeft` command.

    Args:
        place: `IN_A_JOB`, or absent.
    """
    # Rewards named by dotted path are looked up where the command is run, as TRL's CLI does.
    sys.path.insert(0, "")
    exit_if_hidden()
    tell_as_notes()
    app(obj=place, prog_name=COMMAND)
