"""Chat prompts of the server: the turns of clients, written as those of training are.

vLLM renders a chat into one text and tokenises that, so that a name of a control token inside a
turn becomes that token, and closes the turn. Here what clients wrote is guarded before the template
sees it (`rlpeft.tokens.specials`), and the text is encoded as prompts of runs are.
`/v1/completions` takes text as vLLM does: clients post templates there that they have filled in
themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from vllm.exceptions import VLLMValidationError
from vllm.renderers.hf import HfRenderer
from vllm.renderers.params import ChatParams

from rlpeft.errors import RlpeftError
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.prompts import data_text, prompt_ids
from rlpeft.tokens.specials import unguard

Rendered = tuple[Any, Any]
Render = Callable[[list[Any], ChatParams], Awaitable[Rendered]]
"""Turns of a request and its options -> the turns as the template was given them, a prompt."""

CONTINUE, ASK = "continue_final_message", "add_generation_prompt"
NOT_THE_TEMPLATES = (CONTINUE, ASK, "tokenize", "return_dict")
"""Options of the rendering, which are no arguments of a template."""


@dataclass(frozen=True)
class Chats:
    """How chats become prompts.

    Attributes:
        tokenizer: as `rlpeft.models.load_tokenizer` has it.
        form: the experts' `[chat]`; arguments of a request come first.
    """

    tokenizer: Any
    form: ChatForm

    def around(self, render: Render) -> Render:
        """vLLM's rendering, given guarded turns, with its text encoded by us."""

        async def rendered(messages: list[Any], params: ChatParams) -> Rendered:
            try:
                turns = data_text(self.tokenizer, _read(messages), special_tokens=False)
                turns = self.form.fold(turns)
                prefill, turns, params = _opened(turns, self._with_form(params))
                given, prompt = await render(turns, params)
                return _plain(given), self._encoded(given, prompt, prefill, params)
            except RlpeftError as error:
                raise VLLMValidationError(str(error), parameter="messages") from error

        return rendered

    def _with_form(self, params: ChatParams) -> ChatParams:
        own = data_text(self.tokenizer, params.chat_template_kwargs, special_tokens=False)
        given = {name: value for name, value in own.items() if value is not None}
        return replace(params, chat_template_kwargs={**self.form.template_arguments(), **given})

    def _form_of(self, params: ChatParams) -> ChatForm:
        own = {k: v for k, v in params.chat_template_kwargs.items() if k not in NOT_THE_TEMPLATES}
        return replace(self.form, arguments=own)

    def _encoded(
        self, given: Sequence[Mapping[str, Any]], prompt: Any, prefill: str, params: ChatParams
    ) -> Any:
        text = prompt.get("prompt")
        if not isinstance(text, str):  # token ids already
            return prompt
        talk = Talk(self.tokenizer, self._form_of(params))
        if params.chat_template_kwargs.get(ASK, True):
            bridge = talk.bridge(given)  # tries the template, and refuses one that loses a turn
            talk.require_said(given, text)
            text = f"{text}{bridge}{prefill}" if prefill else text
        kept = {name: value for name, value in prompt.items() if name != "prompt"}
        if "multi_modal_data" in kept:  # vLLM finds the places of pictures in the text
            return {**kept, "prompt": unguard(text)}
        return {**kept, "prompt_token_ids": prompt_ids(self.tokenizer, tuple(given), text)}


def keep_letters(renderer: Any, chats: Chats) -> None:
    """Have a renderer of vLLM's write chats so; one that is not of transformers stays as it is.

    Mistral's own encodes what turns say as text already.
    """
    if isinstance(renderer, HfRenderer):
        renderer.render_messages_async = chats.around(renderer.render_messages_async)


def _read(value: Any) -> Any:
    """Turns as plain lists and dicts: pydantic hands some parts of them on to be read once."""
    if isinstance(value, BaseModel):
        return _read(value.model_dump(exclude_none=True))
    if isinstance(value, Mapping):
        return {key: _read(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_read(part) for part in value]
    return value


def _plain(given: Any) -> Any:
    """Guarded turns as they were."""
    if isinstance(given, str):
        return unguard(given)
    if isinstance(given, Mapping):
        return {_plain(key): _plain(part) for key, part in given.items()}
    return [_plain(part) for part in given] if isinstance(given, list) else given


def _opened(turns: list[Any], params: ChatParams) -> tuple[str, list[Any], ChatParams]:
    """A last turn that shall be continued, and the talk before it, asking for an answer.

    transformers cuts the text behind that turn, and what it ends with where a template trims it.
    """
    options = params.chat_template_kwargs
    last = turns[-1] if turns else {}
    content = last.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text":
        content = content[0].get("text")
    if not options.get(CONTINUE) or last.get("role") != "assistant" or not isinstance(content, str):
        return "", turns, params
    asking = {**options, CONTINUE: False, ASK: True}
    return content, turns[:-1], replace(params, chat_template_kwargs=asking)
