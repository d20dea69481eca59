"""An OpenAI-compatible server whose models are the base, its experts, and `auto`."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobs.library import Shelf, stop_of
from jobs.sources import Sources
from rlpeft.build import build_engine, chat_form
from rlpeft.choose.strategies import Question, make_question
from rlpeft.errors import ConfigError
from rlpeft.experts.card_parts import BASE
from rlpeft.experts.files import ExpertCard
from rlpeft.recipe.engines import ENGINES
from rlpeft.rollout.vllm.build import needs_vllm
from rlpeft.tokens.chat import Talk
from rlpeft.tokens.prompts import decode_prompt, encode_prompt

MOST = 1024
"""Tokens of a prompt, and of an answer, unless told otherwise."""

SLOTS = 8
"""Experts in one batch, if no more are there when the server starts."""


@dataclass(frozen=True)
class TokenQuestion:
    """The question of the first pass, in token ids; see `rlpeft.choose.strategies`."""

    question: Question
    talk: Talk

    @property
    def asked(self) -> str | None:
        """Expert that is asked; `None` for the base model."""
        return self.question.asked

    def ask(self, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids of the question about a prompt."""
        prompt = decode_prompt(self.talk.tokenizer, prompt_ids, self.talk)
        return encode_prompt(self.talk.tokenizer, self.question.ask(prompt), talk=self.talk)

    def read(self, answer: str) -> tuple[str | None, str]:
        """The expert that an answer means, `None` for the base model; and why."""
        chosen = self.question.read(answer)
        return None if chosen.expert == BASE else chosen.expert, chosen.why


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest prompt and answer; what is absent takes what there is, up to 1024."""

    max_prompt_tokens: int | None = None
    max_tokens: int | None = None

    def within(self, context: int) -> int:
        """Tokens of the longest sequence.

        Raises:
            ConfigError: the model's context is too short for what was asked.
        """
        asked = (self.max_prompt_tokens or 1) + (self.max_tokens or 1)
        if asked > context:
            raise ConfigError(
                f"--max-prompt-tokens and --max-tokens must fit the model's context of {context} "
                f"tokens, together they are at least {asked}. Lower them."
            )
        wanted = (self.max_prompt_tokens or MOST) + (self.max_tokens or MOST)
        return min(wanted, context)


def serve(
    shelf: Shelf,
    *,
    host: str,
    port: int,
    api_key: str | None,
    auto: str | None,
    lengths: Lengths,
    slots: int | None = None,
    stop: Sequence[str] | None = None,
    sources: Sources,
) -> None:
    """Serve the experts of a shelf until interrupted.

    Args:
        auto: first pass of the model `auto`: `prompt` or `classifier`; `None`: no such model.
        slots: experts in one batch, at most; if absent, as many as there are, and at least 8.
        stop: for requests that give none, in the place of what cards say; an empty string stands
            for none.
        sources: from where requests may have experts loaded.

    Raises:
        RlpeftError: loading without a key, the address is another's, no experts, ones that do not
            go together or not with `auto`, no vLLM, or more tokens asked for than the model can
            attend to.
    """
    with needs_vllm("rlpeft serve"):
        from rlpeft.serve.server import Listen, run
    check_address(host, port)
    sources.check(api_key)
    room = lengths.within(shelf.base.context_length)
    served = _served(shelf, auto, stop, sources, room=room, slots=slots)
    run(served, Listen(host, port, api_key), _hf_engine(shelf, served))


def _served(
    shelf: Shelf,
    auto: str | None,
    stop: Sequence[str] | None,
    sources: Sources,
    *,
    room: int,
    slots: int | None,
) -> Any:
    from jobs.intake import Intake
    from rlpeft.serve.server import Served

    intake, experts = Intake.begin(shelf, stop)
    form = chat_form(shelf.chat)
    talk = Talk(shelf.base.tokenizer, form)

    def make_first_pass(cards: Mapping[str, ExpertCard]) -> TokenQuestion | None:
        return None if auto is None else TokenQuestion(make_question(auto, cards), talk)

    make_first_pass({name: expert.card for name, expert in experts.items()})  # before long work
    fetch = partial(intake.fetch, roots=sources.roots, from_hub=sources.hub)
    return Served(
        shelf.base.path,
        intake.start,
        experts,
        make_first_pass,
        max_model_len=room,
        slots=slots or max(SLOTS, len(experts)),
        dtype=shelf.spec.dtype,
        form=form,
        stop=stop_of(None, stop),
        read=fetch if sources else None,
        quantisation=shelf.base.quantisation,
    )


def check_address(host: str, port: int) -> None:
    """Refuse, before anything is loaded, an address on which nobody could listen.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server itself does: a port that was left a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"the server must be able to listen on port {port} of {host!r}, got: {error}. Choose "
            "another --port or --host, or end what listens there."
        ) from error


def _hf_engine(shelf: Shelf, served: Any) -> Any:
    """The engine that answers in the place of vLLM's, if one was asked for."""
    if ENGINES[shelf.spec.rollout.engine].is_served:
        return None
    engine = build_engine(shelf.spec, shelf.base)
    engine.load_adapter(served.base)
    return engine
