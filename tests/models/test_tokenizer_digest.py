"""The digest of a tokenizer: a save changes nothing of it, whatever moves tokens does."""

import json
import shutil

import pytest

from rlpeft.experts.files import ExpertCard, other_prompts
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.models.tokenizer_digest import changed_parts, tokenizer_digest, tokenizer_parts

TINY = resolve_model("tiny")
TOKENIZER, CONFIG, ENDS = "tokenizer.json", "tokenizer_config.json", "generation_config.json"


@pytest.fixture
def folder(tmp_path):
    """The built-in model, to be changed."""
    return shutil.copytree(TINY, tmp_path / "model")


@pytest.fixture
def model_of(tmp_path):
    """A maker of model folders around a tokenizer."""

    def make(tokenizer, name="made"):
        path = shutil.copytree(TINY, tmp_path / name, ignore=lambda *_: [TOKENIZER, CONFIG])
        (path / "chat_template.jinja").unlink()
        tokenizer.save_pretrained(path)
        return path

    return make


def edit(file, change):
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def turned(tree):
    """The same JSON, every object in the other order."""
    if isinstance(tree, dict):
        return {key: turned(tree[key]) for key in reversed(tree)}
    return [turned(each) for each in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("kind", ["tiny", "bytes", "pieces"])
def test_a_folder_that_is_saved_again_is_the_same(
    kind, folder, model_of, byte_level, sentence_piece
):
    if kind == "bytes":
        folder = model_of(byte_level(merges=(("a", "b"),), prefix=("<s>", "<t>")))
    if kind == "pieces":
        folder = model_of(sentence_piece("legacy"))
    again = model_of(load_tokenizer(folder), "again")
    assert tokenizer_parts(again) == tokenizer_parts(folder)
    assert tokenizer_digest(again) == tokenizer_digest(folder)


def test_order_and_form_of_a_file_do_not_count(folder):
    before = tokenizer_parts(folder)
    tree = turned(json.loads((folder / TOKENIZER).read_text()))
    tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    (folder / TOKENIZER).write_text(json.dumps(tree))
    edit(folder / CONFIG, lambda c: c.update(model_max_length=7, padding_side="left"))
    template = (folder / "chat_template.jinja").read_text().removesuffix("\n")
    (folder / "chat_template.jinja").write_text(template + "\n")
    assert tokenizer_parts(folder) == before


def test_a_tokenizer_in_its_slow_form_is_the_same(model_of, tmp_path):
    from transformers import Qwen2Tokenizer

    vocab = {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "<|endoftext|>": 4}
    fast = model_of(Qwen2Tokenizer(vocab=vocab, merges=[("a", "b")]))
    slow = shutil.copytree(fast, tmp_path / "slow", ignore=lambda *_: [TOKENIZER])
    model = json.loads((fast / TOKENIZER).read_text())["model"]
    (slow / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (slow / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    assert tokenizer_parts(slow) == tokenizer_parts(fast)


def swap_two(tree):
    a, b = list(tree["model"]["vocab"])[-2:]
    vocab = tree["model"]["vocab"]
    vocab[a], vocab[b] = vocab[b], vocab[a]


CHANGES = {
    "vocabulary": [(TOKENIZER, swap_two)],
    "normaliser, pre-tokenizer or decoder": [
        (TOKENIZER, lambda t: t.update(normalizer={"type": "NFC"})),
        (TOKENIZER, lambda t: t["pre_tokenizer"]["pretokenizers"].pop(0)),
        (TOKENIZER, lambda t: t.update(decoder={"type": "Fuse"})),
    ],
    "added tokens": [
        (TOKENIZER, lambda t: t["added_tokens"][4].update(lstrip=True)),
        (TOKENIZER, lambda t: t["added_tokens"][4].update(special=False)),
    ],
    "special tokens": [(CONFIG, lambda t: t.update(bos_token="<user>"))],
    "tokens before text (were [1], are [])": [(TOKENIZER, lambda t: t.update(post_processor=None))],
    "ends of sequence (were [2], are [2, 5])": [(ENDS, lambda t: t.update(eos_token_id=[2, 5]))],
}


@pytest.mark.parametrize(
    ("part", "file", "change"),
    [(part, *change) for part, changes in CHANGES.items() for change in changes],
)
def test_what_moves_tokens_is_another_tokenizer_and_is_named(folder, part, file, change):
    before = tokenizer_parts(folder)
    edit(folder / file, change)
    after = tokenizer_parts(folder)
    assert part in changed_parts(before, after)
    assert tokenizer_digest(folder) != tokenizer_digest(TINY)


def test_another_order_of_merges_is_another_vocabulary(model_of, byte_level):
    pairs = (("a", "b"), ("b", "c"))
    one = tokenizer_parts(model_of(byte_level(merges=pairs), "one"))
    vocab_of_one = byte_level(merges=pairs)
    tree = json.loads(vocab_of_one.backend_tokenizer.to_str())
    tree["model"]["merges"].reverse()
    two = model_of(vocab_of_one, "two")
    (two / TOKENIZER).write_text(json.dumps(tree))
    assert changed_parts(one, tokenizer_parts(two)) == ["vocabulary"]


def test_another_template_is_named_alone(folder):
    before = tokenizer_parts(folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<assistant>", "<assistant> "))
    assert changed_parts(before, tokenizer_parts(folder)) == ["chat template"]


def test_an_expert_says_what_it_was_trained_under():
    card = ExpertCard(
        name="e", base_model="tiny", base_digest="b", adapter={}, task={}, rewards=(), seed=0,
        step=0, digest="d", tokenizer={"chat_template": "x", "ends": [2]},
    )  # fmt: skip
    assert other_prompts("e", card, {"chat_template": "x", "ends": [2], "later": 1}) == []
    (line,) = other_prompts("e", card, {"chat_template": "y", "ends": [2, 7]})
    assert "chat template, ends of sequence (were [2], are [2, 7])" in line
    old = card.model_copy(update={"tokenizer": {}})
    assert "cannot be told" in other_prompts("e", old, {"ends": [2]})[0]


def test_an_expert_says_that_it_is_used_under_another_chat_section():
    folded = {"fold_system": True, "date": "2024-01-01"}
    card = ExpertCard(
        name="e", base_model="tiny", base_digest="b", adapter={}, task={}, rewards=(), seed=0,
        step=0, digest="d", tokenizer={"ends": [2]}, chat=folded,
    )  # fmt: skip
    assert other_prompts("e", card, {"ends": [2]}, folded | {"date": "2025-01-01"}) == []
    (line,) = other_prompts("e", card, {"ends": [2]}, {})
    assert 'trained with [chat] {"fold_system": true}, here it is {}' in line
