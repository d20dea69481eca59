"""Laws of templates: what they lose, repeat, draw at random or ask with."""

import pytest

from rlpeft.model_checks.finding import LawVerdict

TURN = "<{{ m.role }}>{{ m.content }}"
LOOP = f"{{% for m in messages %}}{TURN}{{% endfor %}}"
ASKS = "{% if add_generation_prompt %}<assistant>{% endif %}"
BAD = {LawVerdict.BROKEN, LawVerdict.REFUSED}


def changed(content):
    return LOOP.replace("m.content", content) + ASKS


@pytest.mark.parametrize(
    ("template", "law"),
    [
        (LOOP.replace("messages %", "messages[-4:] %") + ASKS, "turns"),
        (LOOP.replace(TURN, TURN + "{{ m.content }}") + ASKS, "turns"),
        ("{{ range(1000) | random }}" + LOOP + ASKS, "turns"),
        ("{{ 'Be brief. ' * 60 }}" + LOOP + ASKS, "turns"),
        (changed("m.content.replace('\t', '    ')"), "turns' text"),
        (changed("m.content[:2000]"), "turns' text"),
        (changed("m.content.split('####')[0]"), "turns' text"),
        (changed("m.content if m.role != 'assistant' else m.content[:90]"), "turns' text"),
        ("{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}" + LOOP + ASKS,
         "system turn"),
        (LOOP + ASKS.replace("<assistant>", "<system>"), "asks for an answer"),
        (LOOP + ASKS.replace("<assistant>", "<assistant> "), "asks for an answer"),
    ],
)  # fmt: skip
def test_a_template_that_alters_what_it_is_given_blocks(altered, rows_of, template, law):
    row = rows_of(altered(chat_template__jinja=template))[law]
    assert row.verdict in BAD
    assert row.blocks


def test_users_that_are_called_assistant_are_seen_by_what_opens_an_answer(altered, rows_of):
    swapped = LOOP.replace("m.role", "{'user': 'assistant', 'assistant': 'user'}.get(m.role)")
    row = rows_of(altered(chat_template__jinja=swapped + ASKS))["asks for an answer"]
    assert row.verdict is LawVerdict.BROKEN
    assert "ends in '<assistant>', an assistant's turn opens with '<user>'" in row.evidence


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_of_which_turns_a_template_trims_the_text_is_said(altered, rows_of, role):
    template = changed(f"m.content | trim if m.role == '{role}' else m.content")
    row = rows_of(altered(chat_template__jinja=template))["turns' text"]
    assert row.verdict is LawVerdict.HOLDS
    assert row.evidence.endswith(f"; the template trims blanks around the text of {role} turns")


def test_what_answers_begin_with_and_prompts_for_them_lack_is_said(altered, rows_of):
    spaced = LOOP.replace("{{ m.content }}", "{{ '\\n' if m.role == 'assistant' }}{{ m.content }}")
    row = rows_of(altered(chat_template__jinja=spaced + ASKS))["asks for an answer"]
    assert row.verdict is LawVerdict.HOLDS
    assert "begin with '\\n', which it lacks" in row.evidence


def test_thoughts_that_begin_in_the_prompt_are_no_other_opening(altered, rows_of):
    thinking = LOOP + ASKS.replace("<assistant>", "<assistant><think>\n")
    row = rows_of(altered(chat_template__jinja=thinking))["asks for an answer"]
    assert row.verdict is LawVerdict.HOLDS
    assert "begins the answer" in row.evidence


@pytest.mark.parametrize("form", ["%d/%m/%y", "%j"])
def test_a_date_in_any_form_is_that_of_the_run(altered, rows_of, form):
    template = f"{{{{ strftime_now('{form}') }}}}" + LOOP + ASKS
    assert rows_of(altered(chat_template__jinja=template))["date"].verdict is LawVerdict.HOLDS


def test_a_date_that_only_a_system_turn_has_is_found(altered, rows_of):
    dated = LOOP.replace(TURN, TURN + "{{ strftime_now('%d') if m.role == 'system' }}") + ASKS
    assert rows_of(altered(chat_template__jinja=dated))["date"].verdict is LawVerdict.HOLDS


def test_a_template_that_writes_too_much_is_told_once(altered, rows_of):
    rows = rows_of(altered(chat_template__jinja="{{ 'x' * 200000 }}" + LOOP + ASKS))
    assert [law for law, row in rows.items() if row.blocks] == ["turns"]
    assert rows["date"].evidence == "it needs what failed in 'turns'"
