"""`rlpeft generate`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.options import (
    ENGINE,
    EXPERTS,
    Temperature,
    file_to_write,
    folder_of_experts,
    refuse_own_input,
)
from rlpeft.errors import ConfigError
from rlpeft.files import write_jsonl
from rlpeft.terminal import note, printable, quiet_libraries, say
from rlpeft.types import Problem, Prompt

if TYPE_CHECKING:
    from rlpeft.choose.two_pass import TwoPass


Stop = Annotated[
    list[str] | None,
    typer.Option(
        help="Ends answers, in the place of the strings that each expert was trained with. "
        "Repeatable; '' for none.",
        metavar="TEXT",
    ),
]

PROMPT = typer.Argument(metavar="PROMPT", help="What to answer.", show_default=False)
AsTurns = Annotated[bool, typer.Option("--chat", help="Give texts to the model as a user's turn.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        min=1, help="New tokens an answer may have. Default: as in the training, where it is known."
    ),
]
LONG_ENOUGH = 256
"""New tokens of an answer, where no training says how many."""

FILE = typer.Option(
    help='JSONL with a "prompt" a line: text, or chat turns. Its "image" is a path, or several.'
)
ANSWERS = typer.Option(callback=file_to_write, help="Write answers as JSONL here.")


def generate(
    prompt: Annotated[list[str] | None, PROMPT] = None,
    experts: Annotated[str, typer.Option(help=EXPERTS, metavar="DIR")] = "runs",
    strategy: Annotated[
        str,
        typer.Option(
            help="prompt: the base model says which expert. classifier: an expert trained for it "
            "says. few-shot: the mixture of `rlpeft adapt`. Or the NAME of an expert, or `base`."
        ),
    ] = "prompt",
    file: Annotated[Path | None, FILE] = None,
    out: Annotated[Path | None, ANSWERS] = None,
    model: Annotated[
        str | None, typer.Option(help="Base model. Default: that of the experts.")
    ] = None,
    engine: Annotated[str, typer.Option(**ENGINE, help="What generates.")] = "hf",
    chat: AsTurns = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides what is sampled.")] = 0,
    stop: Stop = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer prompts in two passes: choose an expert for each, then answer.

    rlpeft generate "3714@=" --experts runs --strategy swap
    """
    from jobs.prompts import read_prompts

    refuse_own_input(file, out)
    said = prompt or []
    _require_one(said, file)
    given = read_prompts(file) if file else [Problem("0", said[0])]
    problems = [replace(one, prompt=_as_turn(one.prompt)) for one in given] if chat else given
    root = _require_strategy(strategy, folder_of_experts(experts, model))
    say_beginning(f"Answering with the base model and the experts of {experts}.")
    from jobs.generate import generate as answer
    from jobs.library import find_shelf, trained_length
    from rlpeft.recipe.run import RolloutConfig

    quiet_libraries()
    length = max_tokens or _told(trained_length(root, strategy))
    shelf = find_shelf(root, model=model, rollout=RolloutConfig(engine=engine, max_tokens=length))
    rows, passes = answer(
        problems, shelf, strategy=strategy, temperature=temperature, seed=seed, stop=stop
    )
    if out is not None:
        write_jsonl(out, rows)
    _print(rows, passes, as_json=as_json, is_written=out is not None)


def _require_one(prompts: Sequence[str], file: Path | None) -> None:
    """Refuse what would be answered with noise, before libraries are loaded."""
    if bool(prompts) == (file is not None):
        raise ConfigError("give either one PROMPT or --file FILE, not both and not neither.")
    if len(prompts) > 1:
        raise ConfigError(
            f"give one PROMPT, in quotes where it has blanks, got {len(prompts)}. Several are "
            'asked by --file FILE, with one {"prompt": "…"} a line.'
        )
    if prompts and not prompts[0].strip():
        raise ConfigError(f"PROMPT must hold something to answer, got {prompts[0]!r}.")


def _require_strategy(strategy: str, root: Path) -> Path:
    from rlpeft.choose.names import require_strategy
    from rlpeft.experts.card_parts import BASE
    from rlpeft.experts.files import find_experts, read_card

    require_strategy(strategy, (BASE, *(read_card(each).name for each in find_experts(root))))
    return root


def _told(trained: int | None) -> int:
    """How long answers may be where nobody says it, which is told."""
    why = (
        "where no training says how many" if trained is None else "as in the training that had most"
    )
    note(f"answers have at most {trained or LONG_ENOUGH} tokens, {why}: others by --max-tokens.")
    return trained or LONG_ENOUGH


def _print(
    rows: Sequence[Mapping[str, Any]], passes: TwoPass, *, as_json: bool, is_written: bool
) -> None:
    first_s, second_s = passes.first_s, passes.second_s
    if as_json:
        typer.echo(json.dumps({"answers": rows, "first_s": first_s, "second_s": second_s}))
        return
    for row in () if is_written else rows:
        typer.echo(printable(f"[{row['expert']}: {row['why']}]\n{row['text']}"))
    timing = f"first pass {first_s:.2f} s, second {second_s:.2f} s"
    answers = "1 answer" if len(rows) == 1 else f"{len(rows)} answers"
    say(f"{answers}; {timing}", err=True)


def _as_turn(prompt: Prompt) -> Prompt:
    return ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt
