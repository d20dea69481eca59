"""A scripted model under the user's own tokenizer: what it will say is known, token for token.

Its next token follows from the position alone, so that a scene may let it say anything. An engine
that plays it shows what it makes of the tokens: text, ends and limits. GPT-2 without attention or
MLP is such a model: positions embedded as unit vectors, and a head that reads them.

V vocabulary, S slot of the script.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlpeft.rollout.engine import RolloutEngine
from rlpeft.types import Completion, FinishReason, Request, Sampling

SHARPNESS = 40.0
"""Logit of the token that is due, by the scale of a layer norm's output."""

ROOM = 8
"""Positions beyond the last scene."""

HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scripted model says after a prompt, and what must come of it.

    Attributes:
        said: tokens that it would say if nothing ended it.
        num_tokens: how many of them it gets to say.
        text: what they read as; `None` where another law looks at that.
        shows: names what the scene is about, for evidence.
    """

    prompt: tuple[int, ...]
    said: tuple[int, ...]
    num_tokens: int
    finish: FinishReason
    text: str | None = None
    stop: tuple[str, ...] = ()
    shows: str = ""


@dataclass(slots=True)
class Script:
    """Scenes one after another, each at positions of its own.

    Args:
        filler: a token that stands before prompts, and is said where no scene is.
    """

    filler: int
    scenes: list[Scene] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    by_position: dict[int, int] = field(default_factory=dict)
    end: int = 2

    def add(self, scenes: Iterable[Scene]) -> None:
        """Give the scenes the next free positions."""
        for scene in scenes:
            length = max(len(scene.prompt), self.end)
            for offset, token in enumerate(scene.said):
                self.by_position[length - 1 + offset] = token
            self.scenes.append(scene)
            self.starts.append(length)
            self.end = length + len(scene.said)

    @property
    def context(self) -> int:
        """Positions of the model."""
        return self.end + ROOM

    def request(self, index: int) -> Request:
        """That of a scene: its prompt behind so much filler that its positions are reached."""
        prompt = self.scenes[index].prompt
        filled = (self.filler,) * (self.starts[index] - len(prompt))
        return Request(f"scene {index}", (*filled, *prompt), (0,))


def play(engine: RolloutEngine, script: Script) -> list[Completion]:
    """What an engine with the script's model gives, scene by scene."""
    found = []
    for index, scene in enumerate(script.scenes):
        sampling = Sampling(max_tokens=len(scene.said), temperature=0.0, stop=scene.stop)
        found.append(engine.rollout([script.request(index)], sampling)[0][0])
    return found


def scripted_model(script: Script, vocabulary: int) -> Any:
    """The model that says the script, in float32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    slots = {position: slot for slot, position in enumerate(sorted(script.by_position), 1)}
    width = -(-(len(slots) + 1) // HEAD_SIZE) * HEAD_SIZE
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=script.context,
        n_embd=width,
        n_layer=1,
        n_head=width // HEAD_SIZE,
        n_inner=8,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = GPT2LMHeadModel(config)
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")) else 0)
    for name, buffer in model.named_buffers():
        raise AssertionError(f"{name} {buffer.shape} would be uninitialised")
    for position in range(script.context):
        slot = slots.get(position, 0)
        model.transformer.wpe.weight[position, slot] = 1.0
        model.lm_head.weight[script.by_position.get(position, script.filler), slot] = SHARPNESS
    return model


def write_folder(folder: Path, tokenizer: Any, model: Any, eos: Sequence[int]) -> Path:
    """A model folder for engines that read one: the scripted weights and the user's tokenizer."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Beside GPT-2's config transformers would make GPT-2's tokenizer of some.
    file = folder / "tokenizer_config.json"
    named = json.loads(file.read_text("utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(named), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(eos)}))
    return folder
