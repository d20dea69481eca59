"""Prompt ids on the tiny model's tokenizer: what opens them, what data may not write, prefills."""

import json
import shutil

import pytest

from rlpeft.errors import DataError, ModelError
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.tokens.prompts import adds_bos, decode_prompt, encode_prompt
from rlpeft.tokens.requests import Prompter
from rlpeft.types import Problem

TINY = resolve_model("tiny")
BOS, EOS, USER, ASSISTANT = 1, 2, 4, 5


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(TINY)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def question_ids(tokenizer, text):
    return [tokenizer.convert_tokens_to_ids(character) for character in text]


def test_plain_text_opens_with_one_bos(tokenizer):
    ids = question_ids(tokenizer, "3714@=")
    assert encode_prompt(tokenizer, "3714@=") == [BOS, *ids]


@pytest.mark.parametrize("text", ["3714@=", "<bos>3714@=", "<bos><bos>3714@="])
def test_plain_text_that_writes_its_own_tokens_opens_with_one_bos(tokenizer, text):
    ids = question_ids(tokenizer, "3714@=")
    assert encode_prompt(tokenizer, text, special_tokens=True) == [BOS, *ids]


def test_chat_turns_open_with_one_bos_and_end_where_the_model_answers(tokenizer):
    ids = question_ids(tokenizer, "3714@=")
    turns = ({"role": "user", "content": "3714@="},)
    assert encode_prompt(tokenizer, turns) == [BOS, USER, *ids, ASSISTANT]


def test_a_bos_is_added_to_a_template_that_forgets_it():
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}={% endfor %}"
    ids = question_ids(tokenizer, "37=")
    assert encode_prompt(tokenizer, ({"role": "user", "content": "37"},)) == [BOS, *ids]


def test_a_last_assistant_turn_is_left_open(tokenizer):
    turns = ({"role": "user", "content": "37"}, {"role": "assistant", "content": "73"})
    ids = question_ids(tokenizer, "37")
    assert encode_prompt(tokenizer, turns) == [BOS, USER, *ids, ASSISTANT, *ids[::-1]]


TALK = "{% for m in messages %}{{ m.role }}: {{ m.content }}<bos>{% endfor %}assistant: "


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("3714@=", "3714@="),
        (({"role": "user", "content": "3714@="},), "3714@="),
        (
            ({"role": "user", "content": "37"}, {"role": "assistant", "content": "73"}) * 2,
            "user: 37assistant: 73user: 37assistant: 73",
        ),
    ],
)
def test_a_prompt_is_read_without_the_words_of_the_template(prompt, said):
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = TALK
    assert decode_prompt(tokenizer, encode_prompt(tokenizer, prompt)) == said


def test_no_bos_is_forced_on_a_tokenizer_that_has_one_but_adds_none(folder):
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "post_processor": None}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.bos_token_id == BOS
    assert not adds_bos(tokenizer)
    assert encode_prompt(tokenizer, "37") == question_ids(tokenizer, "37")


def test_chat_turns_without_a_template_are_refused():
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        encode_prompt(tokenizer, ({"role": "user", "content": "37"},))


def test_turns_which_the_template_refuses_are_a_data_error():
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(DataError, match=r"refuses .*no system turn"):
        encode_prompt(tokenizer, ({"role": "system", "content": "37"},))


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 / 0 }}",
        "{{ messages[0].content.nothing.more }}",
        "{{ messages[9].content + 1 }}",
        "{{ messages + 1 }}",
        "{{ range(10**9) | list }}",
        "{{ messages[0].content.encode('ascii') }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for m in messages %}",
        "{{ strftime_now(1) }}",
    ],
)
def test_a_template_may_fail_in_any_way_and_it_is_one_line(template):
    tokenizer = load_tokenizer(TINY)
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="chat template refuses") as caught:
        encode_prompt(tokenizer, ({"role": "user", "content": "3\u00df"},))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("prompt", ["37\ud83d", ({"role": "user", "content": "37\ud83d"},)])
def test_half_of_a_surrogate_pair_is_refused_and_shown(tokenizer, prompt):
    with pytest.raises(DataError, match=r"is the lone surrogate '\\ud83d' in") as caught:
        encode_prompt(tokenizer, prompt)
    assert str(caught.value).isprintable()


def test_a_prompt_that_no_tokenizer_reads_is_told_with_its_problem(tokenizer):
    prompter = Prompter(tokenizer, max_tokens=99)
    with pytest.raises(DataError, match=r"problem 'train/7': .*lone surrogate"):
        prompter.ids(Problem("train/7", "\udc00", "1"))


def test_tokens_that_the_tokenizer_puts_before_text_open_plain_prompts(byte_level):
    tokenizer = byte_level(prefix=("[gMASK]", "<sop>"))
    prefix = tokenizer.convert_tokens_to_ids(["[gMASK]", "<sop>"])
    letters = tokenizer("ab", add_special_tokens=False)["input_ids"]
    assert not adds_bos(tokenizer)
    assert encode_prompt(tokenizer, "ab") == [*prefix, *letters] == tokenizer("ab")["input_ids"]
    own = encode_prompt(tokenizer, "[gMASK]<sop>ab", special_tokens=True)
    assert own == [*prefix, *letters]


def test_a_bos_behind_another_token_is_not_doubled_in_chat(byte_level, user):
    tokenizer = byte_level("<s>{{ messages[0].content }}:", prefix=("[X]", "<s>"))
    tokenizer.bos_token = "<s>"
    prefix = tokenizer.convert_tokens_to_ids(["[X]", "<s>"])
    letters = tokenizer("ab:", add_special_tokens=False)["input_ids"]
    assert encode_prompt(tokenizer, user("ab")) == [*prefix, *letters]


def test_tokens_behind_text_are_no_part_of_a_prompt(tokenizer, folder):
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text())
    eos = {"id": "<eos>", "ids": [EOS], "tokens": ["<eos>"]}
    document["post_processor"]["single"].append({"SpecialToken": {"id": "<eos>", "type_id": 0}})
    document["post_processor"]["special_tokens"]["<eos>"] = eos
    file.write_text(json.dumps(document))
    changed = load_tokenizer(folder)
    assert changed("37")["input_ids"][-1] == EOS
    assert encode_prompt(changed, "37") == encode_prompt(tokenizer, "37")
