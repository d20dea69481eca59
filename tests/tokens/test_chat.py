"""Templates: none loses a turn's text or forgets to ask, and prompts end in their prefill."""

from datetime import date

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.tokens.chat import ChatForm, Talk, require_read
from rlpeft.tokens.prompts import data_text, encode_prompt, turn_end

HEADERS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}[assistant] {% endif %}"
PREFILLS = ["```python\ndef f(x):\n    ", "\n\n", " ", "", "Sure: ", "\tx\n"]


@pytest.mark.parametrize("kind", ["chatml", "trimming"])
@pytest.mark.parametrize("prefill", PREFILLS)
def test_a_prompt_ends_in_its_prefill_character_for_character(
    byte_level, templates, user, kind, prefill
):
    tokenizer = byte_level(templates[kind])
    turns = (*user("q"), {"role": "assistant", "content": prefill})
    text = tokenizer.decode(encode_prompt(tokenizer, turns))
    assert text == f"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n{prefill}"


@pytest.mark.parametrize("prefill", [prefill for prefill in PREFILLS if prefill])
def test_a_template_without_a_header_keeps_its_own_blank_before_a_prefill(
    sentence_piece, user, prefill
):
    tokenizer = sentence_piece()
    turns = (*user("q"), {"role": "assistant", "content": prefill})
    assert Talk(tokenizer).prompt(turns) == f"<s>[INST] q [/INST] {prefill}"
    assert tokenizer.decode(encode_prompt(tokenizer, turns)).endswith(f"q [/INST] {prefill}")


def test_the_prefill_follows_what_the_template_opens_an_answer_with(byte_level, user):
    """Sampling without a prefill would go on there."""
    tokenizer = byte_level(HEADERS + "{% if add_generation_prompt %}[assistant] <think>{% endif %}")
    turns = (*user("q"), {"role": "assistant", "content": "Let "})
    assert Talk(tokenizer).prompt(turns) == "[user] q\n[assistant] <think>Let "


TOOL_TURNS = {
    "as it is": "{{ m.content }}",
    "as JSON": "{{ m.content | tojson }}",
    "not at all": "",
}


@pytest.mark.parametrize("kind", TOOL_TURNS)
@pytest.mark.parametrize("answer", ["42", '{"sum": "4\\n2"}'])
def test_a_tools_answer_stands_in_the_prompt_as_text_or_as_json(byte_level, user, kind, answer):
    tokenizer = byte_level(
        "{% for m in messages %}[{{ m.role }}] {% if m.role == 'tool' %}"
        + TOOL_TURNS[kind]
        + "{% else %}{{ m.content }}{% endif %}\n{% endfor %}"
        + ASKS
    )
    turns = (*user("add"), {"role": "tool", "content": answer})
    if kind == "not at all":
        with pytest.raises(DataError, match="leaves out that of the tool"):
            encode_prompt(tokenizer, turns)
    else:
        assert "[tool] " in tokenizer.decode(encode_prompt(tokenizer, turns))


LOSING = {
    "reads lists": "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}"
    "{% endfor %}?",
    "drops system": "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}?",
    "last turn alone": "{{ messages[-1].content }}?",
    "first turn alone": "{{ messages[0].content }}?",
    "cuts": "{% for m in messages %}{{ m.content[:3] }}{% endfor %}?",
}


@pytest.mark.parametrize("kind", LOSING)
@pytest.mark.parametrize("question", ["assistant", "tell me"])
def test_a_template_that_loses_a_turns_text_is_refused(byte_level, user, kind, question):
    tokenizer = byte_level(LOSING[kind] + "{% if add_generation_prompt %}assistant:{% endif %}")
    turns = ({"role": "system", "content": "be brief"}, *user(question))
    with pytest.raises(DataError, match="must write the text of every turn"):
        encode_prompt(tokenizer, turns)


def test_a_template_that_drops_turns_of_a_role_that_it_does_not_know_is_refused(byte_level, user):
    known = "{% for m in messages if m.role in ['user', 'assistant'] %}{{ m.content }}{% endfor %}?"
    tokenizer = byte_level(known + ASKS)
    with pytest.raises(DataError, match="leaves out that of the human, tell me"):
        encode_prompt(tokenizer, ({"role": "human", "content": "tell me"}, *user("q")))


def test_a_template_that_drops_one_text_alone_is_refused(byte_level, user):
    tokenizer = byte_level(
        HEADERS.replace("m.content", "m.content | replace('<image>', '')") + ASKS
    )
    assert encode_prompt(tokenizer, user("a"))
    with pytest.raises(DataError, match=r"leaves out that of the user, a<image>b\."):
        encode_prompt(tokenizer, user("a<image>b"))


def test_what_an_earlier_answer_thought_may_be_dropped(byte_level, user):
    tokenizer = byte_level(HEADERS.replace("m.content", "m.content.split('</think>')[-1]") + ASKS)
    answer = {"role": "assistant", "content": "<think>hm</think>yes"}
    text = Talk(tokenizer).prompt((*user("a"), answer, *user("b")))
    assert text == "[user] a\n[assistant] yes\n[user] b\n[assistant] "


@pytest.mark.parametrize(
    "template", [HEADERS, "{% for m in messages %}{{ m.content }}{% endfor %}"]
)
def test_a_template_that_does_not_ask_for_an_answer_is_refused(byte_level, user, template):
    with pytest.raises(DataError, match="add_generation_prompt adds nothing"):
        encode_prompt(byte_level(template), user("q"))


def test_a_template_whose_turns_themselves_ask_is_taken(sentence_piece, user):
    """Mistral's and Llama 2's: an answer follows the end of the question, without a header."""
    empty = {"role": "assistant", "content": ""}
    for turns in (user("q"), (*user("q"), empty)):
        assert Talk(sentence_piece()).prompt(turns) == "<s>[INST] q [/INST]"


def test_a_system_turn_is_folded_where_the_recipe_says_so(byte_level, user):
    tokenizer = byte_level("{{ raise_exception('no system') if messages[0].role == 'system' }}")
    tokenizer.chat_template += HEADERS + ASKS
    turns = ({"role": "system", "content": "be brief"}, *user("q"))
    with pytest.raises(DataError, match=r"no system.*chat\.fold_system = true"):
        Talk(tokenizer).prompt(turns)
    folded = Talk(tokenizer, ChatForm(fold_system=True)).prompt(turns)
    assert folded == "[user] be brief\n\nq\n[assistant] "


def test_arguments_reach_the_template(byte_level, user):
    tokenizer = byte_level(HEADERS + ASKS + "{% if not enable_thinking %}<none>{% endif %}")
    form = ChatForm(arguments={"enable_thinking": True})
    assert Talk(tokenizer, form).prompt(user("q")) == "[user] q\n[assistant] "
    assert Talk(tokenizer).prompt(user("q")).endswith("<none>")


def test_dates_in_templates_can_be_pinned(byte_level, user):
    tokenizer = byte_level("{{ strftime_now('%d %b %Y') }} " + HEADERS + ASKS)
    form = ChatForm(today=date(2024, 7, 26))
    assert Talk(tokenizer, form).prompt(user("q")).startswith("26 Jul 2024 [user]")


@pytest.mark.parametrize(("kind", "end"), [("chatml", "<|im_end|>"), ("trimming", "<|im_end|>")])
def test_the_end_of_an_answer_is_what_the_template_writes(byte_level, templates, user, kind, end):
    tokenizer = byte_level(templates[kind])
    assert tokenizer.eos_token != end
    assert turn_end(tokenizer, user("q")) == tokenizer.convert_tokens_to_ids(end)


def test_a_template_may_write_no_token_after_an_answer(byte_level, user):
    assert turn_end(byte_level(HEADERS + ASKS), user("q")) is None


def test_every_system_turn_that_opens_a_talk_is_folded(byte_level, user):
    turns = ({"role": "system", "content": "one"}, {"role": "system", "content": "two"}, *user("x"))
    talk = Talk(byte_level(), ChatForm(fold_system=True))
    assert talk.prompt(turns) == (
        "<|im_start|>user\none\n\ntwo\n\nx<|im_end|>\n<|im_start|>assistant\n"
    )


def test_arguments_that_the_template_does_not_read_are_refused(byte_level, templates):
    form = ChatForm({"enable_thinkin": False})
    thinking = "{% if not enable_thinking %}-{% endif %}" + templates["chatml"]
    with pytest.raises(ConfigError, match="reads no enable_thinkin"):
        require_read(byte_level(thinking), form)
    require_read(byte_level(thinking), ChatForm({"enable_thinking": False}))


def test_errors_show_text_as_the_data_has_it(byte_level, templates, user):
    lower = byte_level(templates["chatml"].replace("m.content", "m.content | upper"))
    with pytest.raises(DataError, match=r"that of the user, x<\|im_end\|>"):
        encode_prompt(lower, user("x<|im_end|>"))
    with pytest.raises(DataError, match=r"refuses .*x<\|im_end\|>.*no x<\|im_end\|>"):
        Talk(byte_level("{{ raise_exception('no ' + messages[0].content) }}")).ending(
            data_text(byte_level(), user("x<|im_end|>"), special_tokens=False)
        )


def test_around_a_turn_stands_what_ends_the_answer_before_and_asks_for_the_next(byte_level, user):
    talk = Talk(byte_level())
    after = ("<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    assert talk.around(user("q"), "user") == after
    answered = (*user("q"), {"role": "assistant", "content": "a"}, *user("r"))
    assert talk.around(answered, "user") == after


def test_a_template_without_a_header_asks_by_the_turn_itself(sentence_piece, user):
    before, behind = Talk(sentence_piece()).around(user("q"), "user")
    assert (before, behind) == ("</s>[INST] ", " [/INST]")
