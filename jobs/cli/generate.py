"""`rlpeft generate`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.options import ENGINE, EXPERTS, file_to_write, refuse_own_input
from rlpeft.errors import ConfigError
from rlpeft.files import write_jsonl
from rlpeft.terminal import printable, quiet_libraries, say
from rlpeft.types import Prompt

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

ANSWERS = typer.Option(callback=file_to_write, help="Write answers as JSONL here.")


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to answer.")] = None,
    experts: Annotated[str, typer.Option(help=EXPERTS, metavar="DIR")] = "runs",
    strategy: Annotated[
        str,
        typer.Option(
            help="prompt: the base model says which expert. classifier: an expert trained for it "
            "says. few-shot: the mixture of `rlpeft adapt`. Or the NAME of an expert, or `base`."
        ),
    ] = "prompt",
    file: Annotated[
        Path | None, typer.Option(help='JSONL with a "prompt" a line: text, or chat turns.')
    ] = None,
    out: Annotated[Path | None, ANSWERS] = None,
    model: Annotated[
        str | None, typer.Option(help="Base model. Default: that of the experts.")
    ] = None,
    engine: Annotated[str, typer.Option(**ENGINE, help="What generates.")] = "hf",
    chat: Annotated[
        bool, typer.Option("--chat", help="Give texts to the model as a user's turn.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens an answer may have.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0: greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides what is sampled.")] = 0,
    stop: Stop = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Answer prompts in two passes: choose an expert for each, then answer.

    rlpeft generate "3714@=" --experts runs --strategy swap
    """
    refuse_own_input(file, out)
    say_beginning(f"Answering with the base model and the experts of {experts}.")
    from jobs.generate import generate as answer
    from jobs.library import find_shelf
    from rlpeft.program.hub import expert_folder
    from rlpeft.recipe.run import RolloutConfig

    quiet_libraries()
    given = _given(prompt, file)
    prompts = [_as_turn(one) for one in given] if chat else given
    rollout = RolloutConfig(engine=engine, max_tokens=max_tokens)
    shelf = find_shelf(expert_folder(experts), model=model, rollout=rollout)
    rows, passes = answer(
        prompts, shelf, strategy=strategy, temperature=temperature, seed=seed, stop=stop
    )
    if out is not None:
        write_jsonl(out, rows)
    _print(rows, passes, as_json=as_json, is_written=out is not None)


def _given(prompt: str | None, file: Path | None) -> Sequence[Prompt]:
    from jobs.generate import read_prompts

    if (prompt is None) == (file is None):
        raise ConfigError("give either one PROMPT or --file FILE, not both and not neither.")
    return read_prompts(file) if file is not None else [prompt or ""]


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
