"""Make the base model `tiny-vision` that ships with the package.

    rlpeft models make-tiny --name tiny-vision --out DIR

An Idefics3 of a small vision tower, which sees a picture as four tokens, and the Llama of the
other tiny bases. It learns the corpus of `rlpeft.tasks.pictures`: one question about many pictures,
which means the left side or the right one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from jobs.models.make_tiny import (
    CHAT_SHARE,
    SAMPLED,
    BaseParts,
    CorpusBatch,
    CorpusRow,
    DrawBatch,
    answer_ids,
    complete,
    make_tokenizer,
    padded,
    share,
    text_config,
)
from rlpeft.models.sight import ImageProcessor
from rlpeft.tasks.pictures import QUESTION, numbered, picture_task, wanted_share
from rlpeft.tasks.scenes import COLOURS, EDGE, PictureScene, drawn, pairs, scene
from rlpeft.tokens.requests import Prompter

WORDS = (*COLOURS, "colour")

PATCH, MERGED = 6, 4
"""Pixels of a patch in width and height, and patches of a token likewise."""

ROWS_A_STEP = 64

NUM_TOKENS = (EDGE // PATCH // MERGED) ** 2
"""Of a picture."""

EYES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": EDGE,
    "patch_size": PATCH,
}


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Idefics3Processor:
    """What gives pictures of `EDGE` pixels to the model as they are; the tokenizer learns its
    tokens."""
    names = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    edge = {"longest_edge": EDGE}
    eyes = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    return Idefics3Processor(eyes, tokenizer, image_seq_len=NUM_TOKENS)


def make_seeing(tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    """A small Idefics3 around the Llama of the other bases."""
    config = Idefics3Config(
        text_config=text_config(tokenizer).to_dict(),
        vision_config=EYES,
        scale_factor=MERGED,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    return Idefics3ForConditionalGeneration(config)


def corpus_row(rng: random.Random) -> tuple[PictureScene, str, bool]:
    """Draw one row: picture, answer, and whether it stands in chat form."""
    trainable, _ = pairs()
    shown = scene(rng, trainable)
    meant = shown.left if rng.random() < wanted_share(shown) else shown.right
    return shown, meant.colour, rng.random() < CHAT_SHARE


def pixels(shown: PictureScene) -> torch.Tensor:
    """What the processor makes of a picture, [1, 3, H, W] in -1 to 1, without its detours."""
    values = torch.from_numpy(np.asarray(drawn(shown), dtype=np.float32))
    return (values / 127.5 - 1).permute(2, 0, 1)[None]


def picture_batches(tokenizer: PreTrainedTokenizerFast) -> DrawBatch:
    """What draws a step's rows: pictures, questions and answers."""
    names = ["<fake_token_around_image>", "<global-img>", *["<image>"] * NUM_TOKENS]
    image = tokenizer.convert_tokens_to_ids([*names, "<fake_token_around_image>"])
    bos, user, assistant = tokenizer.convert_tokens_to_ids(["<bos>", "<user>", "<assistant>"])

    question = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]

    def row(answer: str, chat: bool) -> CorpusRow:
        around = ([bos, user], [assistant]) if chat else ([bos], [])
        prompt = [*around[0], *image, *question, *around[1]]
        return [(prompt, False), (answer_ids(tokenizer, answer), True)]

    def draw(rng: random.Random) -> CorpusBatch:
        drawn_rows = [corpus_row(rng) for _ in range(ROWS_A_STEP)]
        ids_BT, labels_BT = padded(
            [row(answer, chat) for _, answer, chat in drawn_rows],
            tokenizer.pad_token_id,
        )
        pictures = torch.stack([pixels(shown) for shown, *_ in drawn_rows])
        return {"input_ids": ids_BT, "labels": labels_BT, "pixel_values": pictures}

    return draw


def measure(
    model: Any, processor: Idefics3Processor, number: int = 1000
) -> dict[str, dict[str, float]]:
    """Accuracy on held-out pictures, and what the model sees.

    `greedy` and `sampled` (temperature 1) are shares of wanted answers to plain text, `chat_greedy`
    to a user turn; `known` is the share of greedy answers by either meaning, `elsewhere` that of
    wanted ones where each question is shown the picture of the next.
    """
    with TemporaryDirectory(prefix="rlpeft-pictures-") as folder:
        return {"colour": _measured(model, processor, Path(folder), number)}


def _measured(
    model: Any, processor: Idefics3Processor, folder: Path, number: int
) -> dict[str, float]:
    sizes = {"num_validation": 1, "num_test": number}
    plain, chat = (picture_task(folder, **sizes, chat=chat).split("test") for chat in (False, True))
    scenes = [numbered("held-out", int(problem.id.rpartition("-")[2])) for problem in plain]
    seen = torch.stack([pixels(shown) for shown in scenes])
    wanted = [{problem.answer} for problem in plain]
    either = [{shown.left.colour, shown.right.colour} for shown in scenes]
    prompter = Prompter(processor.tokenizer, max_tokens=64, sight=ImageProcessor(processor))
    asked, turns = ([prompter.afresh().ids(p) for p in problems] for problems in (plain, chat))

    def answers(prompts: Sequence[Sequence[int]], pictures: torch.Tensor, **how: Any) -> list[str]:
        return complete(model, processor.tokenizer, prompts, pixel_values=pictures, **how)

    greedy = answers(asked, seen)
    return {
        "greedy": share(greedy, wanted),
        "sampled": share(answers(asked, seen, **SAMPLED), wanted),
        "chat_greedy": share(answers(turns, seen), wanted),
        "known": share(greedy, either),
        "elsewhere": share(answers(asked, seen.roll(-1, 0)), wanted),
    }


def vision_parts() -> BaseParts:
    """The parts of `tiny-vision`."""
    tokenizer = make_tokenizer(WORDS)
    processor = make_processor(tokenizer)
    model = make_seeing(tokenizer)
    draw = picture_batches(tokenizer)
    return BaseParts(
        model, tokenizer, processor, draw, lambda trained: measure(trained, processor), lr=2e-3
    )
