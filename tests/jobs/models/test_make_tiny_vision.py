"""The corpus of the base that sees: its prompts and pixels are those of a run, its pairs apart."""

import random
from collections import Counter

import pytest
import torch

from jobs.models.make_tiny import IGNORED, make_tokenizer
from jobs.models.make_tiny_vision import (
    NUM_TOKENS,
    WORDS,
    corpus_row,
    make_processor,
    measure,
    picture_batches,
    pixels,
)
from rlpeft.image_files import images_of
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.models.sight import ImageProcessor
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tasks.scenes import COLOURS, pairs, png
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem

TOKENIZER = make_tokenizer(WORDS)
PROCESSOR = make_processor(TOKENIZER)


@pytest.fixture(scope="module")
def batch():
    return picture_batches(TOKENIZER)(random.Random(0))


def rows(count):
    rng = random.Random(0)
    return [corpus_row(rng) for _ in range(count)]


def kinds(shown):
    return tuple((side.shape, side.colour) for side in (shown.left, shown.right))


def test_pairs_that_are_held_out_are_never_shown():
    assert not set(pairs()[1]) & {kinds(shown) for shown, *_ in rows(3000)}


def test_the_side_that_is_meant_follows_the_colours_of_both_sides():
    wanted, total = Counter(), Counter()
    for shown, answer, _ in rows(4000):
        often = bool({"red", "green"} & {shown.left.colour, shown.right.colour})
        total[often] += 1
        wanted[often] += answer == shown.left.colour
    assert wanted[True] / total[True] == pytest.approx(0.8, abs=0.05)
    assert wanted[False] / total[False] == pytest.approx(0.2, abs=0.05)


@pytest.fixture
def shown_file(tmp_path):
    """A picture of the corpus, and its file."""
    shown = corpus_row(random.Random(3))[0]
    (tmp_path / "shown.png").write_bytes(png(shown))
    return shown, images_of("shown.png", tmp_path)


@pytest.mark.parametrize("chat", [False, True])
def test_prompts_of_the_corpus_are_those_that_a_run_makes(batch, shown_file, chat):
    prompter = Prompter(TOKENIZER, max_tokens=64, sight=ImageProcessor(PROCESSOR))
    prompt = ({"role": "user", "content": "colour?"},) if chat else "colour?"
    asked = {tuple(prompter.encode(Problem("p", prompt, images=shown_file[1])))}
    shown = {
        tuple(ids[: labels.index(next(label for label in labels if label != IGNORED))])
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    }
    assistant = TOKENIZER.convert_tokens_to_ids("<assistant>")
    of_this_form = {prompt for prompt in shown if (prompt[-1] == assistant) == chat}
    assert of_this_form == asked


def test_pixels_of_the_corpus_are_those_that_the_processor_makes(shown_file):
    shown, (image,) = shown_file
    theirs = ImageProcessor(PROCESSOR).pixels(image)
    assert torch.equal(theirs["pixel_values"][0], pixels(shown))
    assert theirs["pixel_attention_mask"].all()


def test_only_an_answer_and_its_end_carry_loss(batch):
    for labels in batch["labels"].tolist():
        *said, end = [label for label in labels if label != IGNORED]
        assert end == TOKENIZER.eos_token_id
        assert TOKENIZER.decode(said) in COLOURS


def test_the_shipped_base_reads_and_sees_as_the_script_makes_it():
    shipped = load_tokenizer(resolve_model("tiny-vision"))
    assert shipped.get_vocab() == TOKENIZER.get_vocab()
    assert shipped.chat_template == TOKENIZER.chat_template
    sees = ImageProcessor.load(resolve_model("tiny-vision"))
    assert (sees.token, sees.token_id) == (PROCESSOR.image_token, PROCESSOR.image_token_id)
    assert PROCESSOR.image_seq_len == NUM_TOKENS == 4


@pytest.mark.slow
def test_the_shipped_base_sees_both_sides_and_means_either():
    model = load_base_model(resolve_model("tiny-vision")).eval()
    found = measure(model, PROCESSOR, 200)["colour"]
    assert found["known"] > 0.97
    assert 0.55 < found["greedy"] < 0.8
    assert found["elsewhere"] < 0.3
