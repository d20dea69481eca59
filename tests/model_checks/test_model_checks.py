"""Laws on models with one thing wrong: the law is named, and the smallest example shown."""

import contextlib
import re

import pytest

from rlpeft.model_checks import engines, examine, finding, subject, text, weights
from rlpeft.model_checks.finding import LawVerdict, smallest
from rlpeft.model_checks.stage import Scene
from rlpeft.model_checks.subject import Subject, SubjectRollouts
from rlpeft.model_checks.table import ENGINE_LAWS, LAWS
from rlpeft.models.folder import resolve_model
from rlpeft.types import Completion, FinishReason, Request

KEEPS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def test_every_law_holds_or_does_not_apply_to_the_built_in_model(rows_of):
    rows = rows_of(resolve_model("tiny"), weights=True, engines=("hf",))
    assert rows.keys() == {law.name for law in (*LAWS, *ENGINE_LAWS)}
    told = {law: row.evidence for law, row in rows.items() if row.blocks}
    assert told == {}
    assert rows["date"].verdict is LawVerdict.ABSENT


@pytest.mark.parametrize(
    ("eos", "said"),
    [(70, "70 'a' .*; 70 'a' is ordinary text"), ([2, 5000], "the tokenizer has no token 5000")],
)
def test_an_end_that_is_a_letter_or_no_token_is_named(altered, rows_of, eos, said):
    row = rows_of(altered(generation_config__json={"eos_token_id": eos}))["ends"]
    assert row.verdict is LawVerdict.BROKEN
    assert re.search(said, row.evidence)


@pytest.mark.parametrize("eos", ["2", [[2]], True, -1, {"a": 2}])
def test_an_end_that_is_no_id_is_refused_in_one_line(altered, rows_of, eos):
    rows = rows_of(altered(generation_config__json={"eos_token_id": eos}))
    assert rows["ends"].verdict is LawVerdict.REFUSED
    assert "eos_token_id of generation_config.json must be a token id" in rows["ends"].evidence


def test_a_turn_that_ends_in_what_ends_no_completion_is_named_with_its_id(altered, rows_of):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<system>{% endfor %}<assistant>"
    row = rows_of(altered(chat_template__jinja=template))["end of a turn"]
    assert row.verdict is LawVerdict.BROKEN
    assert "'<system>'" in row.evidence
    assert "Add 3 to eos_token_id" in row.advice


@pytest.mark.parametrize(
    ("template", "law", "said"),
    [
        ("<user>{{ messages[-1].content[0].text }}<assistant>", "turns", "leaves out that of the"),
        (KEEPS.replace("<assistant>", ""), "turns", "must write something that asks"),
        ("{{ raise_exception('no') }}", "turns", "refuses"),
        ("{% for", "turns", "TemplateSyntaxError"),
    ],
)
def test_a_template_that_loses_or_fails_is_refused_and_blocks(
    altered, rows_of, template, law, said
):
    row = rows_of(altered(chat_template__jinja=template))[law]
    assert row.verdict is LawVerdict.REFUSED
    assert row.blocks
    assert said in row.evidence


def test_a_template_without_a_system_turn_is_refused_with_the_way_out_and_blocks_nothing(
    altered, rows_of
):
    template = KEEPS.replace("{{ m", "{% if m.role == 'system' %}{{ raise_exception('no') }}"
                             "{% endif %}{{ m", 1)  # fmt: skip
    row = rows_of(altered(chat_template__jinja=template))["system turn"]
    assert row.verdict is LawVerdict.REFUSED
    assert "chat.fold_system = true" in row.advice
    assert not row.blocks


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.slow
@pytest.mark.parametrize("loop", [LOOP, "{{ 'a' * 2000000 }}"])
def test_a_template_that_never_ends_is_a_row_that_says_so(altered, rows_of, monkeypatch, loop):
    monkeypatch.setattr(subject, "TURN_S", 1)
    rows = rows_of(altered(chat_template__jinja=loop + KEEPS))
    assert (rows["turns"].verdict, rows["turns"].blocks) == (LawVerdict.UNKNOWN, True)
    assert "renders one turn for more than" in rows["turns"].evidence
    assert rows["text survives"].verdict is LawVerdict.HOLDS


def test_a_law_that_takes_too_long_is_a_row_whatever_the_program_in_it_catches():
    def endless(_):
        while True:
            with contextlib.suppress(Exception):
                sum(range(10_000))

    found = examine.Inquiry()("law", endless, None, patience_s=0.2)
    assert (found.verdict, found.evidence) == (LawVerdict.UNKNOWN, "it took more than 0.2 s")


def test_text_that_is_folded_is_shown_by_one_letter(altered, rows_of):
    def lowercase(tree):
        tree["normalizer"] = {"type": "Lowercase"}

    row = rows_of(altered(tokenizer__json=lowercase))["text survives"]
    assert row.verdict is LawVerdict.BROKEN
    assert "'T' becomes 't' and then 't'" in row.evidence


def test_a_token_without_an_embedding_is_named(altered, rows_of):
    def grow(tree):
        token = tree["added_tokens"][0]
        tree["added_tokens"].append({**token, "id": 280, "content": "<image>"})

    row = rows_of(altered(tokenizer__json=grow))["embeddings"]
    assert row.verdict is LawVerdict.BROKEN
    assert "280 for 281 tokens: none for '<image>', from id 280 on" in row.evidence


def test_what_a_config_cannot_express_is_refused_before_weights_are_read(altered, rows_of):
    row = rows_of(altered(config__json={"attention_chunk_size": 8}))["windows, caps, scales"]
    assert row.verdict is LawVerdict.REFUSED
    assert "attention_chunk_size = 8" in row.evidence


def test_a_window_that_the_model_never_reads_is_refused_with_its_weights(altered, rows_of):
    row = rows_of(altered(config__json={"sliding_window": 4}), weights=True)["weights"]
    assert row.verdict is not LawVerdict.HOLDS
    assert "LlamaForCausalLM, which has no windows" in row.evidence


def test_a_folder_of_a_tokenizer_alone_has_its_laws_tried(altered, rows_of):
    rows = rows_of(altered(weights=False, drop=["config.json"]), engines=("hf",))
    assert {rows[law].verdict for law in ("weights", "embeddings")} == {LawVerdict.ABSENT}
    assert {rows[law].verdict for law in ("turns", "answers' text")} == {LawVerdict.HOLDS}


def test_what_a_terminal_would_obey_is_shown_as_letters(altered, rows_of):
    row = rows_of(altered(chat_template__jinja=f"\x1b[31m{KEEPS}"))["turns"]
    assert "\x1b" not in row.evidence
    assert "x1b" in row.evidence


def test_the_smallest_example_is_a_part_of_which_nothing_can_be_left_out():
    assert smallest("some long text with b and c in it", lambda t: "b" in t and "c" in t) == "bc"


def completion(ids, logprobs, said=""):
    return Completion(ids, logprobs, said, FinishReason.LENGTH, 0, "")


def subject_with(**found):
    subject = Subject(resolve_model("tiny"))
    empty = {"requests": (), "together": [], "alone": [], "own": [], "reading": {}}
    subject.__dict__["kept"] = {"rollouts": (SubjectRollouts(**(empty | found)), None)}
    return subject


def test_a_model_that_reads_better_without_the_start_its_tokenizer_writes_is_told():
    found = text.reads_best(subject_with(reading={(): -4.3, (1,): -2.0, (3,): -1.0}))
    assert found.verdict is LawVerdict.BROKEN
    assert "behind '<system>'" in found.advice
    close = text.reads_best(subject_with(reading={(): -2.2, (1,): -2.0}))
    assert close.verdict is LawVerdict.HOLDS


def test_an_answer_that_its_neighbours_change_is_shown_beside_the_other():
    request = Request("0", (1, 70), (0,))
    found = weights.neighbours(
        subject_with(
            requests=(request,),
            together=[[completion((71, 72), (-1.0, -1.0))]],
            alone=[[completion((71, 73), (-1.0, -1.0))]],
            own=[[[-1.0, -1.0]]],
        )
    )
    assert found.verdict is LawVerdict.BROKEN
    assert "in a batch 'b' 'c', alone 'b' 'd'" in found.evidence


@pytest.mark.parametrize("gap", [0.01, float("nan")])
def test_log_probs_that_differ_are_broken_and_so_are_those_that_are_no_numbers(gap):
    assert weights._agreed(gap, "float32", "x").verdict is LawVerdict.BROKEN
    assert weights._agreed(1e-4, "float32", "x").verdict is LawVerdict.HOLDS


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (((70, 71), "stop", "ab"), "reads 'ab', due was ' ab'"),
        (((70,), "stop", "a"), "the engine says 'a' \\(stop\\), due were 2"),
        (((70, 71), "length", " ab"), "'b' \\(length\\), due were 2 \\(stop\\)"),
        (((70, 71), "stop", " ab"), None),
    ],
)
def test_an_engine_that_says_other_tokens_text_or_ends_is_broken(got, said):
    class Doctored(engines.Stage):
        def completions(self, law):
            scene = Scene((1,), (70, 71), 2, FinishReason.STOP, text=" ab", shows="x")
            ids, finish, read = got
            return [(scene, Completion(ids, (0.0,) * 2, read, FinishReason(finish), 0, ""))]

    found = engines.texts(Doctored(Subject(resolve_model("tiny")), "hf"))
    assert found.verdict is (LawVerdict.HOLDS if said is None else LawVerdict.BROKEN)
    if said is not None:
        assert re.search(said, found.evidence)


def test_a_law_that_raises_is_a_row_that_names_its_error():
    def raises(subject):
        raise RecursionError("too deep")

    found = examine.Inquiry()("law", raises, None, patience_s=9)
    assert found == finding.unknown("RecursionError: too deep", "Not one of ours: see its cause.")


def test_an_error_that_many_laws_meet_is_told_once(altered, rows_of):
    rows = rows_of(altered(config__json={"hidden_size": 64}), weights=True)
    assert rows["weights"].verdict is LawVerdict.REFUSED
    assert "cannot be loaded" in rows["weights"].evidence
    assert rows["tied head"].evidence == "it needs what failed in 'weights'"
    assert rows["learner is the model"].verdict is LawVerdict.ABSENT


def test_a_template_of_another_tokenizer_is_known_by_marks_that_are_letters(altered, rows_of):
    chatml = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    row = rows_of(altered(chat_template__jinja=chatml))["end of a turn"]
    assert row.verdict is LawVerdict.BROKEN
    assert "'<|im_end|>' after an answer, which is no token here but '<' '|'" in row.evidence


def test_a_tokenizer_that_draws_its_tokens_is_named(altered, rows_of):
    def drop(tree):
        tree["model"]["dropout"] = 0.5
        tree["model"]["merges"] = [["T", "w"], ["Tw", "o"]]
        tree["model"]["vocab"] |= {"Tw": 280, "Two": 281}

    row = rows_of(altered(tokenizer__json=drop))["text survives"]
    assert row.verdict is LawVerdict.BROKEN
    assert "other tokens each time" in row.evidence


def test_weights_of_another_format_are_not_passed_over(altered, rows_of):
    folder = altered(weights=False)
    (folder / "pytorch_model.bin").write_bytes(b"")
    row = rows_of(folder)["weights"]
    assert (row.verdict, row.blocks) == (LawVerdict.UNKNOWN, True)
    assert "'pytorch_model.bin' is no *.safetensors" in row.evidence


def test_a_context_too_short_to_sample_in_is_refused(altered, rows_of):
    rows = rows_of(altered(config__json={"max_position_embeddings": 9}), weights=True)
    assert "must attend to more than 16 tokens" in rows["batch neighbours"].evidence


def strips(names):
    def change(tree):
        for token in tree["added_tokens"]:
            token["rstrip"] = token["rstrip"] or token["content"] in names

    return change


def test_a_token_of_the_template_that_eats_the_blanks_of_a_turn_is_told(altered, rows_of):
    row = rows_of(altered(tokenizer__json=strips(["<user>"])))["turns' text"]
    assert row.verdict is LawVerdict.BROKEN
    assert "'  two blanks before and behind  ' stands in the prompt" in row.evidence


def test_a_control_token_that_words_are_made_of_is_one_line(altered, rows_of):
    def merge(tree):
        tree["model"]["merges"] = [["a", "b"]]
        tree["model"]["vocab"] |= {"ab": 280}

    folder = altered(tokenizer__json=merge, tokenizer_config__json={"eos_token": "a"})
    told = [row.evidence for row in rows_of(folder).values() if row.verdict is LawVerdict.REFUSED]
    assert any("must be no parts of its words" in evidence for evidence in told)
