"""Chat turns as the model's own template writes them, with nothing lost.

A template is a program that came with the model. It may drop a system turn, read only lists of
parts, ignore that an answer is asked for, or trim what it is given; token ids show none of that.
So each kind of talk is rendered once with marks in the place of its texts, and a template that
loses one is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import takewhile
from typing import Any

from rlpeft.errors import ConfigError, DataError, ModelError
from rlpeft.tokens.specials import render, short, unguard

TOOL_ROLES = ("tool", "function", "ipython")
"""Turns whose text templates may write as JSON has it; that of all others stands as it is."""

THOUGHT_END = "</think>"
"""Templates drop what earlier turns of the assistant thought; what follows must be there."""

REPLY, SAID = "REPLY-MARK", "SAID-MARK"

Turn = dict[str, Any]


@dataclass(frozen=True)
class ChatForm:
    """What a recipe says about chat turns.

    Attributes:
        arguments: of the template, such as `enable_thinking` or `tools`.
        fold_system: put the system turn's text before that of the first user turn.
        today: the date that templates may ask for; absent: that of the clock.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    fold_system: bool = False
    today: date | None = None

    def template_arguments(self) -> dict[str, Any]:
        """All that the template is given beside the turns."""
        today = {} if self.today is None else {"strftime_now": self.today.strftime}
        return {**self.arguments, **today}

    def fold(self, turns: Sequence[Any]) -> list[Turn]:
        """The turns as the template is given them."""
        plain = [dict(turn) for turn in turns]
        opening = list(takewhile(lambda turn: _role(turn) == "system", plain))
        first, *rest = plain[len(opening) :] or [{}]
        texts = [turn.get("content") for turn in (*opening, first)]
        folds = self.fold_system and _role(first) == "user"
        if not folds or not all(isinstance(text, str) for text in texts):
            return plain
        return [{**first, "content": "\n\n".join(map(str, texts))}, *rest]


def require_read(tokenizer: Any, form: ChatForm) -> None:
    """Refuse arguments that the model's chat template does not read.

    Raises:
        ConfigError: names them; a misspelt one, or tools for a template without any, would change
            nothing.
    """
    template = str(tokenizer.chat_template or "")
    names = set(re.findall(r"\w+", template))
    if lost := sorted(form.arguments.keys() - names):
        raise ConfigError(
            f"chat.arguments must be arguments that the model's chat template reads, it reads no "
            f"{', '.join(lost)}. Correct or remove them, or mend chat_template.jinja."
        )


class Talk:
    """The template of a tokenizer under one form; kinds of talk are tried once each.

    Args:
        image_token: of a model that sees: opens the text of a turn once for each image it shows.
    """

    def __init__(
        self, tokenizer: Any, form: ChatForm | None = None, *, image_token: str = ""
    ) -> None:
        self.tokenizer, self.form = tokenizer, form or ChatForm()
        self.image_token = image_token
        self._bridges: dict[tuple[str, ...], str] = {}
        self._around: dict[tuple[str, ...], tuple[str, str]] = {}

    def prompt(self, turns: Sequence[Any]) -> str:
        """The prompt that these turns make.

        A last turn by the assistant is a prefill: the prompt for the turns before it, and then the
        prefill as it stands, since templates trim what they are given.

        Raises:
            DataError: the template refuses the turns, fails on them or loses the text of one.
            ModelError: there is no template, or one that does not end.
        """
        given = self.form.fold(turns)
        prefill = given.pop()["content"] if given and _role(given[-1]) == "assistant" else ""
        bridge = self._bridge(given)
        text = self._render(given, asks=True)
        self.require_said(given, text)
        return f"{text}{bridge}{prefill}" if prefill else text

    def require_said(self, turns: Sequence[Any], text: str) -> None:
        """Refuse a text that the template wrote without what a turn says.

        Raises:
            DataError: names the turn.
        """
        for turn in turns:
            said = _said(turn)
            if said in text:
                continue
            if (
                _role(turn) not in TOOL_ROLES
                or json.dumps(said, ensure_ascii=False)[1:-1] not in text
            ):
                raise _lost(turn)

    def bridge(self, turns: Sequence[Any]) -> str:
        """Blanks that the template writes before an answer, and the prompt for one does not hold.

        Raises: as `prompt`.
        """
        given = self.form.fold(turns)
        if given and _role(given[-1]) == "assistant" and given.pop()["content"]:
            return ""  # the prompt has them before its prefill
        return self._bridge(given)

    def ending(self, turns: Sequence[Any]) -> str:
        """What the template writes after the assistant's answer to these turns.

        Raises: as `prompt`.
        """
        given = self.form.fold(turns)
        if given and _role(given[-1]) == "assistant":
            given.pop()
        reply = {"role": "assistant", "content": REPLY}
        text = self._render([*given, reply], asks=False)
        if REPLY not in text:
            raise _lost(reply)
        return text.rpartition(REPLY)[2]

    def around(self, turns: Sequence[Any], role: str) -> tuple[str, str]:
        """What the template writes around a turn by `role` that follows an answer to these turns.

        Before it stands what ends the answer, and behind it what asks for the next one.

        Raises:
            DataError: with more turns behind it the template writes the earlier ones otherwise, so
                that a conversation which goes on is none that it would write; or as `prompt`.
        """
        given = self.form.fold(turns)
        if given and _role(given[-1]) == "assistant":
            given.pop()
        roles = (*map(_role, given), role)
        if roles not in self._around:
            self._around[roles] = self._find_around(given, role)
        return self._around[roles]

    def _find_around(self, given: list[Turn], role: str) -> tuple[str, str]:
        marked, _ = _with_marks(given)
        reply, said = {"role": "assistant", "content": REPLY}, {"role": role, "content": SAID}
        asked = self._render(marked, asks=True) + self._bridge(given)
        ended = self._render([*marked, reply], asks=False)
        whole = self._render([*marked, reply, said], asks=True)
        if SAID not in whole:
            raise _lost(said)
        if not whole.startswith(ended) or not whole.startswith(asked + REPLY):
            raise DataError(
                "the model's chat template must write turns as it wrote them before others "
                f"followed, for a conversation with an environment; it does not before one by the "
                f"{role}. Mend chat_template.jinja, set environment.role, or give plain-text "
                "prompts."
            )
        before, _, after = whole[len(asked + REPLY) :].partition(SAID)
        return before, after

    def _bridge(self, turns: list[Turn]) -> str:
        roles = tuple(_role(turn) for turn in turns)
        if roles not in self._bridges:
            self._bridges[roles] = self._try(turns)
        return self._bridges[roles]

    def _try(self, turns: list[Turn]) -> str:
        """Render turns with marks, and find what stands between them and an answer.

        Returns:
            Blanks that the template writes before an answer where it has nothing else to write
            (Mistral's `[/INST]` asks already), which the prompt for an answer lacks.

        Raises:
            DataError: a turn is lost, or an answer is not asked for.
        """
        marked, marks = _with_marks(turns)
        closed, asking = self._render(marked, asks=False), self._render(marked, asks=True)
        for turn, mark in zip(turns, marks, strict=True):
            if mark and mark not in asking:
                raise _lost(turn)
        last = next((mark for mark in reversed(marks) if mark), "")
        if asking.strip() != closed.strip():
            return ""
        reply = {"role": "assistant", "content": REPLY}
        before = self._render([*marked, reply], asks=False).rpartition(REPLY)[0]
        end, whole = _after(closed, last), _after(before, last)
        header = whole[_num_shared(end, whole) :]
        if header.strip() or not end.strip():
            wanted = f" ({short(header.strip())} before it)" if header.strip() else ""
            raise DataError(
                "the model's chat template must write something that asks for an answer"
                f"{wanted}, add_generation_prompt adds nothing to it. Mend chat_template.jinja in "
                "the model's folder, or give plain-text prompts."
            )
        return header

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether the template loses text that does not come in a list of parts, as Idefics3's."""
        if not self.image_token or not self.tokenizer.chat_template:
            return False
        ways = (
            {"role": "user", "content": SAID},
            self._in_parts({"role": "user", "content": SAID}),
        )
        written = []
        for turn in ways:
            try:
                written.append(SAID in render(self.tokenizer, [turn], add_generation_prompt=True))
            except Exception:  # a template is a program; what it refuses is told when turns come
                written.append(False)
        return written == [False, True]

    def _in_parts(self, turn: Turn) -> Turn:
        text, parts = turn.get("content"), []
        if not isinstance(text, str):
            return turn
        while text.startswith(self.image_token):
            text = text.removeprefix(self.image_token)
            parts.append({"type": "image"})
        return {**turn, "content": [*parts, {"type": "text", "text": text}]}

    def _render(self, turns: Sequence[Turn], *, asks: bool) -> str:
        if self._reads_parts:
            turns = [self._in_parts(turn) for turn in turns]
        if not self.tokenizer.chat_template:
            raise ModelError(
                "the task gives chat turns and the model's tokenizer has no chat template. Use a "
                "plain-text task (task.options.chat = false) or a chat model."
            )
        arguments = self.form.template_arguments()
        try:
            text = render(self.tokenizer, list(turns), add_generation_prompt=asks, **arguments)
        except ModelError:
            raise
        except Exception as error:
            # A template is a program: it may fail in any way at all.
            cause = " ".join(f"{type(error).__name__}: {unguard(str(error))}".split())
            shown = [{key: _plain(value) for key, value in turn.items()} for turn in turns]
            raise DataError(
                f"the model's chat template refuses {short(shown)}: {short(cause)}. "
                f"{_advice(turns)}Give turns that it takes, or a plain-text prompt."
            ) from error
        if not isinstance(text, str):
            raise DataError(f"the model's chat template must give text, got {short(text)}.")
        return text


def _role(turn: Mapping[str, Any]) -> str:
    return str(turn.get("role"))


def _plain(value: Any) -> Any:
    """A part of a turn as its data had it."""
    return unguard(value) if isinstance(value, str) else value


def _said(turn: Turn) -> str:
    """The text of a turn that must stand in the prompt."""
    text = turn.get("content")
    if not isinstance(text, str):
        return ""
    return (text.rpartition(THOUGHT_END)[2] if _role(turn) == "assistant" else text).strip()


def _with_marks(turns: list[Turn]) -> tuple[list[Turn], list[str]]:
    """The turns with a mark in the place of each text, and the marks; empty where there is none."""
    marks = [f"TURN-{number}-MARK" if _said(turn) else "" for number, turn in enumerate(turns, 1)]
    pairs = zip(turns, marks, strict=True)
    return [{**turn, "content": mark} if mark else turn for turn, mark in pairs], marks


def _num_shared(one: str, other: str) -> int:
    """Length of what two texts begin with alike."""
    longest = min(len(one), len(other))
    return next((n for n in range(longest) if one[n] != other[n]), longest)


def _after(text: str, mark: str) -> str:
    return text.rpartition(mark)[2] if mark else text


def _advice(turns: Sequence[Turn]) -> str:
    if any(_role(turn) == "system" for turn in turns):
        return "Where it takes no system turn: chat.fold_system = true. "
    return ""


def _lost(turn: Turn) -> DataError:
    return DataError(
        f"the model's chat template must write the text of every turn, it leaves out that of the "
        f"{_role(turn)}, {short(_plain(turn.get('content')), 60)}. {_advice([turn])}Mend "
        "chat_template.jinja in the model's folder, or give plain-text prompts."
    )
