"""Laws of tokenizers that change text, or make special what text holds."""

import pytest

from rlpeft.model_checks.finding import LawVerdict


def added(content, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": 280, "content": content, "special": False, **plain, **flags}


@pytest.mark.parametrize("flags", [{"lstrip": True}, {"rstrip": True}])
def test_an_added_word_that_takes_the_blanks_beside_it_is_named(altered, rows_of, flags):
    def add(tree):
        tree["added_tokens"].append(added("theorem", **flags))

    row = rows_of(altered(tokenizer__json=add))["text survives"]
    assert row.verdict is LawVerdict.BROKEN
    assert "'theorem' is an added token of its own" in row.evidence


def test_an_added_word_that_leaves_text_alone_is_none_the_worse(altered, rows_of):
    def add(tree):
        tree["added_tokens"].append(added("theorem"))

    assert rows_of(altered(tokenizer__json=add))["text survives"].verdict is LawVerdict.HOLDS


@pytest.mark.parametrize(
    ("sign", "becomes"),
    [
        ("\u2212", "-"),
        ("```", "'''"),
        ("\u00a0", " "),
        ("\u2019", "'"),
        ("\u2026", "..."),
        ("\u2015", "-"),
        ("\u2264", "<="),
        ("\x0c", ""),
        ("\u3000", " "),
        ("==", "="),
    ],
)
def test_a_sign_that_becomes_another_is_shown(altered, rows_of, sign, becomes):
    def replace(tree):
        tree["normalizer"] = {"type": "Replace", "pattern": {"String": sign}, "content": becomes}

    row = rows_of(altered(tokenizer__json=replace))["text survives"]
    assert row.verdict is LawVerdict.BROKEN
    assert f"{sign!r} becomes" in row.evidence


@pytest.mark.parametrize("word", ["a", "!"])
def test_padding_with_ordinary_text_is_named(altered, rows_of, word):
    row = rows_of(altered(tokenizer_config__json={"pad_token": word}))["padding"]
    assert row.verdict is LawVerdict.BROKEN
    assert f"{word!r}, which is ordinary text" in row.evidence


def test_an_end_that_the_tokenizer_itself_makes_special_is_ordinary_text_all_the_same(
    altered, rows_of
):
    folder = altered(
        tokenizer_config__json={"eos_token": "a"}, generation_config__json={"eos_token_id": 70}
    )
    row = rows_of(folder)["ends"]
    assert row.verdict is LawVerdict.BROKEN
    assert "70 'a' is ordinary text" in row.evidence


def test_tags_that_a_reward_would_never_see_are_named(altered, rows_of, monkeypatch):
    def add(tree):
        tree["added_tokens"].append({**added("<answer>"), "special": True})

    # However answers are read elsewhere: this law is for where special tokens are left out.
    def without(tokenizer, prompts, completions):
        return [tokenizer.decode(ids, skip_special_tokens=True) for ids in completions]

    monkeypatch.setattr("rlpeft.model_checks.ends.completion_texts", without)
    row = rows_of(altered(tokenizer__json=add))["taught as sampled"]
    assert row.verdict is LawVerdict.BROKEN
    assert "an answer of '<answer>' '2' reads '2'" in row.evidence
