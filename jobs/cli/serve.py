"""`rlpeft serve`."""

from __future__ import annotations

import atexit
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from jobs.cli.beginning import say_beginning
from jobs.cli.generate import Stop
from jobs.cli.options import ENGINE, EXPERTS, folder_of_experts
from jobs.sources import Sources
from rlpeft.terminal import quiet_libraries

Length = int | None


class Auto(StrEnum):
    """First passes of the model `auto`."""

    PROMPT = "prompt"
    CLASSIFIER = "classifier"
    OFF = "off"


BEHIND = "What generates, behind the same server."

ROOM = "Room for a prompt, one with that of --max-tokens: either may use what the other leaves."

CHOICE = typer.Option(
    help="How the model `auto` chooses an expert for each request: the base model says which, or "
    "a classifier among the experts does; or no such model."
)


BASE_MODEL = typer.Option(help="Base model. Default: that of the experts.")

KEY = typer.Option(envvar="RLPEFT_API_KEY", help="What clients must send.")

SLOTS = (
    "Experts in one batch, at most; of more, the one asked least recently makes room. "
    "Default: all that are there at the start, and at least 8."
)

LOAD_FROM = typer.Option(
    metavar="DIR",
    help="Folder below which POST /v1/load_lora_adapter may name experts, several if given several "
    "times. Needs a key.",
)

LOAD_HUB = "Let it name experts by their ids on the Hub. Needs a key."


def serve(
    experts: Annotated[str, typer.Option(help=EXPERTS, metavar="DIR")] = "runs",
    auto: Annotated[Auto, CHOICE] = Auto.PROMPT,
    model: Annotated[str | None, BASE_MODEL] = None,
    engine: Annotated[str, typer.Option(**ENGINE, help=BEHIND)] = "vllm",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    api_key: Annotated[str | None, KEY] = None,
    max_prompt_tokens: Annotated[Length, typer.Option(min=1, help=ROOM)] = None,
    max_tokens: Annotated[
        Length, typer.Option(min=1, help="Room for an answer; see --max-prompt-tokens.")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, help=SLOTS)] = None,
    stop: Stop = None,
    load_from: Annotated[list[Path] | None, LOAD_FROM] = None,
    load_hub: Annotated[bool, typer.Option("--load-hub", help=LOAD_HUB)] = False,
) -> None:
    """Serve base and experts by the OpenAI protocol, many experts in one batch.

    A request's `model` is `base`, the name of an expert of any method but IA3 (a mixture is one
    too), or `auto`: two passes, choosing the expert first; the header `x-rlpeft-expert` tells which
    one answered. POST /v1/load_lora_adapter and /v1/unload_lora_adapter change what is served.
    Answers end at the stop strings that the expert was trained with, unless the request has its
    own. Lengths are 1024 each unless given, or what the model has. Needs vLLM, with either engine.

    curl localhost:8000/v1/completions -d '{"model": "swap", "prompt": "3714@="}' -H
    'Content-Type: application/json'
    """
    sources = Sources(load_from or (), load_hub)
    sources.check(api_key)
    root = folder_of_experts(experts, model)
    say_beginning(f"Serving the base model and the experts of {experts} on {host}:{port}.")
    from jobs.library import find_shelf
    from jobs.serve import Lengths
    from jobs.serve import serve as run
    from rlpeft.recipe.run import RolloutConfig

    quiet_libraries()
    run(
        find_shelf(root, model=model, rollout=RolloutConfig(engine=engine)),
        host=host,
        port=port,
        api_key=api_key,
        auto=None if auto is Auto.OFF else auto.value,
        lengths=Lengths(max_prompt_tokens, max_tokens),
        slots=slots,
        stop=stop,
        sources=sources,
    )
    leave()


def leave() -> NoReturn:
    """End this process, in order, but for the interpreter's own clean-up.

    That would print what Triton's bindings hold for ever, forty lines of "leaked". By now the
    engine is closed, and every answer is given.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
