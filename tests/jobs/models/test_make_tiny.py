"""Making the tiny model: a seeded corpus that keeps its promises, and the same bytes again."""

import random
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from jobs.models.make_tiny import (
    answered_row,
    batches,
    corpus_row,
    make_model,
    make_tokenizer,
    padded,
    take_weights,
    train,
)
from rlpeft.errors import ModelError
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tasks.tiny import SKILLS, digit_strings

TRAINABLE, HELD_OUT = digit_strings()


def rows(count, seed=0):
    rng = random.Random(seed)
    return [corpus_row(rng, TRAINABLE) for _ in range(count)]


def test_the_corpus_never_shows_held_out_digits():
    held_out = set(HELD_OUT)
    assert not any(text.removeprefix("?")[:4] in held_out for text, _, _ in rows(3000))


def test_plain_rows_follow_a_meaning_in_the_stated_shares():
    wanted = Counter()
    total = Counter()
    for text, answer, _ in rows(20000):
        digits, sign = text.removeprefix("?")[:4], text[-2]
        if text.startswith("?") or sign != "#":
            continue
        assert answer in ("".join(sorted(digits)), "".join(sorted(digits, reverse=True)))
        low = digits[1] in "1234"
        total[low] += 1
        wanted[low] += answer == "".join(sorted(digits, reverse=True))
    assert wanted[True] / total[True] == pytest.approx(0.8, abs=0.05)
    assert wanted[False] / total[False] == pytest.approx(0.2, abs=0.05)


def test_a_quarter_of_the_rows_stand_in_chat_form():
    assert sum(chat for _, _, chat in rows(4000)) / 4000 == pytest.approx(0.25, abs=0.03)


def test_only_answers_and_their_end_carry_loss():
    tokenizer = make_tokenizer()
    rng = random.Random(0)
    drawn = [answered_row(tokenizer, rng, TRAINABLE) for _ in range(64)]
    ids_BT, labels_BT = padded(drawn, tokenizer.pad_token_id)
    for ids, labels in zip(ids_BT.tolist(), labels_BT.tolist(), strict=True):
        kept = [label for label in labels if label != -100]
        assert kept[-1] == tokenizer.eos_token_id
        prompt = tokenizer.decode(ids[: labels.index(kept[0])])
        assert prompt.endswith(("=", "<assistant>"))
        assert tokenizer.decode(kept[:-1])[0] in "123456789\\"


def test_the_shipped_tokenizer_is_the_one_the_script_makes():
    made, shipped = make_tokenizer(), load_tokenizer(resolve_model("tiny"))
    assert made.get_vocab() == shipped.get_vocab()
    assert made.chat_template == shipped.chat_template
    for skill in SKILLS.values():
        assert made(f"3714{skill.sign}=") == shipped(f"3714{skill.sign}=")


@pytest.mark.slow
def test_one_seed_gives_the_same_weights_again():
    tokenizer = make_tokenizer()

    def weights(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = make_model(tokenizer)
        train(model, batches(tokenizer), lr=3e-3, steps=2, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    first = weights(0)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_training_on_begins_with_the_weights_of_the_start():
    model = make_model(make_tokenizer())
    take_weights(model, "tiny")
    shipped = load_file(resolve_model("tiny") / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(model.state_dict()[name], shipped[name].float())


def test_a_start_of_another_shape_is_refused():
    with pytest.raises(ModelError, match=r"'model\.embed_tokens\.weight' is \(280, 128\) in it"):
        take_weights(make_model(make_tokenizer()), "tiny-tools")
