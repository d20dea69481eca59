"""`rlpeft submit`: what the commands that train and evaluate do here, as a job of a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from jobs.cli.evaluate import SplitName, samples_given
from jobs.cli.flags import recipe_given, search_given
from jobs.cli.options import AsJson, no_url
from jobs.cli.push import check_push_option
from jobs.cli.sft import SUFFIX, own_name
from rlpeft.errors import ConfigError
from rlpeft.terminal import note, say
from rlpeft.typed import program

if TYPE_CHECKING:
    from jobs.cluster.submit import Work
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.run import Recipe

DashboardAddress = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="Dashboard of the cluster, http://HOST:8265, or its head, HOST:6379.",
    ),
]
DASHBOARD = "http://127.0.0.1:8265"

Words = tuple[str, ...]
"""Of a command, as they are typed here, without those that only `submit` reads."""


CommandWords = Annotated[
    list[str],
    typer.Argument(
        metavar="COMMAND …",
        help="train, sft, adapt or evaluate, with what it takes. A recipe alone is trained.",
    ),
]
JobOut = Annotated[
    Path | None,
    typer.Option(
        callback=no_url, help="Run folder, on the cluster's machine that runs the command."
    ),
]
Retries = Annotated[
    int, typer.Option(min=0, help="How often a killed command is started again, to continue.")
]
WorkingDir = Annotated[
    Path | None, typer.Option(help="Folder to send along, for what is named by relative paths.")
]
RuntimeEnvFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="YAML or JSON as Ray's runtime environments: pip, env_vars, …"
    ),
]
Packages = Annotated[
    list[str] | None,
    typer.Option("--pip", metavar="PACKAGE", help="Install it for the job; may be repeated."),
]
Variables = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Variable of the job, by its name alone as it is here; may be repeated.",
    ),
]


def submit(
    context: typer.Context,
    words: CommandWords,
    address: DashboardAddress = DASHBOARD,
    out: JobOut = None,
    retries: Retries = 3,
    working_dir: WorkingDir = None,
    runtime_env: RuntimeEnvFile = None,
    packages: Packages = None,
    variables: Variables = None,
    as_json: AsJson = False,
) -> None:
    """Submit a command to a cluster, as a job that needs nothing of this machine any more.

    rlpeft submit train quickstart --address http://HOST:8265 --out /shared/runs/quickstart

    What the command refuses early it refuses here, before anything is sent. With --working-dir
    travels what git does not ignore there, and all that the recipe names.
    """
    work = work_of(context, words, out)
    from jobs.cluster.environment import environment_of
    from jobs.cluster.submit import submit as send

    environment = environment_of(runtime_env, packages or (), variables or ())
    if "--push" in work.words and "HF_TOKEN" not in environment.get("env_vars", {}):
        note("--push wants a token where the job runs; yours goes along by", "--env HF_TOKEN")
    job, folder = send(
        work,
        address=address,
        out=out,
        retries=retries,
        working_dir=working_dir,
        environment=environment,
    )
    if as_json:
        typer.echo(json.dumps({"id": job, "out": None if folder is None else str(folder)}))
        return
    where = "" if address == DASHBOARD else f" --address {address}"
    if folder is None:
        say(f"submitted {job}; its figures will be in its log.")
    else:
        say(f"submitted {job}; its run folder is", str(folder))
    say("next:", f"{program()} logs {job} --follow{where}")


def work_of(context: typer.Context, words: Sequence[str], out: Path | None) -> Work:
    """What a job shall run, after all that its command refuses early.

    Args:
        context: of `submit`, beside which its commands stand.
        words: the command and its words; without a command it is `train`.
        out: its run folder, if it is named.

    Raises:
        ConfigError, DataError, RewardError: what the command itself would say.
    """
    beside = cast(typer.Context, context.parent)
    group = cast(TyperGroup, beside.command)
    if words[0] in group.commands and words[0] not in WORKS:
        raise ConfigError(
            f"what is submitted must be one of {', '.join(WORKS)}, or a recipe to train, got "
            f"the command {words[0]!r}, which runs where it is given: {program()} {words[0]}"
        )
    typed = words if words[0] in WORKS else ["train", *words]
    name, command, rest = group.resolve_command(beside, [*typed])
    given = cast(Any, command).make_context(name, [*rest], parent=beside).params
    if given.get("local"):
        raise ConfigError("--local runs without Ray, and a job on its cluster: leave it out.")
    check_push_option(given.get("push"))
    where = {"out": out, "address": context.params["address"]}
    return WORKS[str(name)](given | where, (str(name), *_apart(rest)))


def _apart(words: Sequence[str]) -> Iterator[str]:
    """`--option=value` as the two words that it stands for: a job is told of recipes by words."""
    for word in words:
        option, given, value = word.partition("=")
        yield from (option, value) if given and option.startswith("--") else (word,)


def _run(given: Mapping[str, Any], words: Words) -> Work:
    """Of `train`, whose learner and engines are actors."""
    found = _recipe(given)
    return _work(found, found.name, given, words)


def _recipe(given: Mapping[str, Any]) -> Recipe:
    flags = {name: given[name] for name in ("model", "data", "reward")}
    return recipe_given(given["recipe"], given["overrides"] or (), **flags)


def _sft(given: Mapping[str, Any], words: Words) -> Work:
    """Of `sft`, whose learners are processes beside its own."""
    found = _recipe(given)
    gpus, name = found.resources.learners * found.resources.learner_gpus, f"{found.name}{SUFFIX}"
    with _folder_seen(given, name) as folder:
        found = own_name(found, folder, given["overrides"] or ())
    return _work(found, name, given, words, gpus=gpus)


def _search(given: Mapping[str, Any], words: Words) -> Work:
    """Of `adapt`, whose engine is in its own process."""
    from jobs.cli.adapt import all_overrides
    from rlpeft.program.hub import experts_below

    found = search_given(
        given["recipe"],
        all_overrides(given["overrides"], light=given["light"]),
        **{name: given[name] for name in ("model", "data", "reward", "experts")},
    )
    for root in _experts_here(found.experts):
        experts_below(root.expanduser(), option="experts")
    return _work(found, found.name, given, words, gpus=found.resources.engine_gpus)


def _work(
    found: Recipe | AdaptRecipe,
    name: str,
    given: Mapping[str, Any],
    words: Words,
    *,
    gpus: float = 0,
) -> Work:
    from jobs.cluster.submit import Work
    from jobs.cluster.travel import named_by
    from rlpeft.doctor.early import refuse_early
    from rlpeft.models.folder import FETCHABLE, resolve_model

    model = found.model.name
    if model not in FETCHABLE and not _is_elsewhere(model):
        resolve_model(model)
    with _folder_seen(given, name) as folder:
        refuse_early(found, folder, method=words[0])
        if _has_ended(found, folder, words[0]):
            note("a job that finds this run computes nothing, it has ended:", str(folder))
    return Work(words, name, _files([given["recipe"]]), tuple(named_by(found)), gpus)


@contextmanager
def _folder_seen(given: Mapping[str, Any], name: str) -> Iterator[Path]:
    """The run folder as far as it is seen from here: an empty one where the job runs elsewhere."""
    from jobs.cluster.submit import is_here

    if is_here(given["address"]):
        yield given["out"] or Path("runs") / name
        return
    with TemporaryDirectory() as empty:
        yield Path(empty)


def _has_ended(found: Recipe | AdaptRecipe, folder: Path, method: str) -> bool:
    from rlpeft.doctor.early import finished
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.runs.fingerprint import SUMMARY_FILE

    if isinstance(found, AdaptRecipe):
        return (folder / SUMMARY_FILE).is_file()
    return finished(found, folder, method) is not None


def _evaluation(given: Mapping[str, Any], words: Words) -> Work:
    """Of `evaluate`, whose engines are actors of the cluster."""
    from jobs.cluster.submit import Work
    from jobs.cluster.travel import is_relative_expert, named_by
    from jobs.exams import exams_of, refuse_asked
    from jobs.recipes import read_recipe
    from rlpeft.experts.files import read_card

    drawn = samples_given(SplitName(given["split"]), **{each: given[each] for each in DRAWN})
    recipes, overrides = given["recipes"] or (), given["overrides"] or ()
    here = _experts_here(given["names"])
    if len(here) == len(given["names"]):
        exams = exams_of(here, recipes or [None], given["tasks"] or [None], overrides)
        refuse_asked(here, exams, drawn)
    else:
        for folder in here:
            read_card(folder)
    found = [read_recipe(recipe, overrides) for recipe in recipes]
    named = [(f"expert {name!r}", name) for name in given["names"] if is_relative_expert(name)]
    named += [each for recipe in found for each in named_by(recipe)]
    return Work((*words, "--address", "auto"), None, _files(recipes), tuple(named))


DRAWN = ("num", "unseen", "samples", "temperature", "ks", "seed")
"""Options of `evaluate` that say, beside the split, which problems are answered, and how."""


def _experts_here(names: Iterable[str]) -> list[Path]:
    """Folders of experts that are here, or would have to be.

    Raises:
        HubError: an id is a mistyped path.
    """
    from rlpeft.experts.hub import refuse_mistyped

    for name in names:
        refuse_mistyped(name)
    return [Path(name) for name in names if not _is_elsewhere(name)]


def _is_elsewhere(name: str) -> bool:
    """Whether the job alone can find this: an id of the Hub, or an absolute path not here."""
    from rlpeft.experts.hub import on_hub

    path = Path(name).expanduser()
    return on_hub(name) or (path.is_absolute() and not path.exists())


WORKS: Mapping[str, Callable[[Mapping[str, Any], Words], Work]] = {
    "train": _run,
    "sft": _sft,
    "adapt": _search,
    "evaluate": _evaluation,
}
"""What can be submitted: a command's parameters and words -> what its job runs."""


def _files(recipes: Iterable[str | None]) -> tuple[str, ...]:
    """Recipes that are files of this machine, not the package's."""
    return tuple(recipe for recipe in recipes if recipe is not None and Path(recipe).is_file())
