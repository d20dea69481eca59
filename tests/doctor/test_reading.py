"""What the doctor shows of prompts: the ids an engine is given, what ends, what is trained."""

import json

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft import build
from rlpeft.doctor.reading import Look, ends, readings
from rlpeft.models.base import BaseModel
from rlpeft.tasks.catalogue import load_task
from rlpeft.tasks.decks import Deck, draw
from rlpeft.training.collect import Evidence
from rlpeft.types import Completion, FinishReason, Group, ScoredGroup, ScoredGroups

TINY = BaseModel.open("tiny")
EOS = 2
WRONG = Verdict(0.0, VerdictKind.WRONG, "no")


def opened(recipe):
    prompter = build.build_prompter(TINY, recipe.chat, recipe.rollout)
    return [Deck(load_task(recipe.task))], prompter


def texts(part):
    return [piece.text for piece in part]


def evidence(recipe, decks, prompter, ids, finish=FinishReason.STOP):
    problems = draw(decks, 0, 2, recipe.train.seed)
    done = Completion(ids, (-0.5,) * len(ids), "", finish, 0, "d")
    groups = [Group(p, prompter.ids(p), (done, done)) for p in problems]
    scored = tuple(ScoredGroup(group, (WRONG, WRONG), {}) for group in groups)
    return Evidence(ScoredGroups(scored), 2, 0)


@pytest.fixture
def chat(quick, tmp_path):
    """A recipe of chat rows with a prefill, one of which names a control token."""
    prefill = {"role": "assistant", "content": "def f(x):\n    "}
    rows = [
        {"prompt": [{"role": "user", "content": f"say <eos> {n}"}, prefill], "answer": "x"}
        for n in range(20)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    sizes = {"num_validation": 4, "num_test": 4}
    task = {"name": "jsonl", "path": str(path), "options": {"last_turn": "prefill"}, **sizes}
    return quick(task=task, rollout={"stop": ["\n\n"]})


def test_prompts_are_those_of_the_first_step_in_its_order(quick):
    recipe = quick()
    decks, prompter = opened(recipe)
    found = readings(recipe, TINY, decks, prompter, 3, None)
    drawn = draw(decks, 0, 3, recipe.train.seed)
    assert [reading.problem for reading in found] == [problem.id for problem in drawn]
    for reading, problem in zip(found, drawn, strict=True):
        assert [piece.id for piece in reading.prompt] == list(prompter.ids(problem))


@pytest.mark.slow
def test_no_problem_is_shown_twice(quick):
    recipe = quick()
    decks, prompter = opened(recipe)
    total = len(decks[0].split("train"))
    assert len(readings(recipe, TINY, decks, prompter, total + 5, None)) == total


def test_control_tokens_of_the_template_are_told_from_those_that_data_names(chat):
    (reading,) = readings(chat, TINY, *opened(chat), 1, None)
    read = texts(reading.prompt)
    assert "say␣<eos>␣" in "".join(read)
    assert EOS not in [piece.id for piece in reading.prompt]  # the template writes none here
    assert read[0] == "⟦<bos>⟧"
    assert "⟦<assistant>⟧" in read


def test_a_prefill_ends_the_prompt_to_its_last_blank(chat):
    (reading,) = readings(chat, TINY, *opened(chat), 1, None)
    assert "".join(texts(reading.prompt)).endswith("def␣f(x):⏎\n␣␣␣␣")


def test_what_ends_an_answer_is_named_with_its_id(chat):
    found = ends(chat, TINY, *opened(chat))
    assert [(piece.id, piece.text) for piece in found.tokens] == [(EOS, "⟦<eos>⟧")]
    assert found.strings == ["⏎⏎"]
    assert found.written == (EOS, "⟦<eos>⟧")


def test_a_stop_string_that_is_a_token_is_named_as_one(quick):
    recipe = quick(rollout={"stop": ["<user>"]})
    found = ends(recipe, TINY, *opened(recipe))
    assert texts(found.tokens) == ["⟦<eos>⟧", "⟦<user>⟧"]
    assert (found.strings, found.written) == ([], None)


@pytest.mark.parametrize(
    ("finish", "loss", "said"),
    [
        (FinishReason.STOP, {}, "all trained, the end included"),
        (FinishReason.LENGTH, {}, "no end among them"),
        (FinishReason.LENGTH, {"mask_truncated": True}, "left out of the loss"),
    ],
)
def test_what_is_trained_is_what_was_sampled(quick, finish, loss, said):
    recipe = quick(loss=loss)
    decks, prompter = opened(recipe)
    seen = evidence(recipe, decks, prompter, (30, EOS), finish)
    for reading in readings(recipe, TINY, decks, prompter, 2, seen):
        assert [piece.id for piece in reading.answer] == [30, EOS]
        assert "judged wrong" in reading.training
        assert said in reading.training


def test_supervision_shows_its_row_and_the_end_it_teaches(quick):
    recipe = quick(sft={"completion": "={answer}", "micro_batch": 4})
    decks, prompter = opened(recipe)
    (reading,) = readings(recipe, TINY, decks, prompter, 1, None)
    assert texts(reading.answer) == ["=", *reading.gold, "⟦<eos>⟧"]
    assert "by supervision" in reading.training


def test_a_gold_answer_in_its_prompt_is_counted(quick, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n} and {n}, not {n}1", "answer": str(n)} for n in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    sizes = {"num_validation": 4, "num_test": 4}
    recipe = quick(task={"name": "jsonl", "path": str(path), **sizes})
    assert {r.gold_count for r in readings(recipe, TINY, *opened(recipe), 5, None)} == {2}


def test_looking_gives_no_row_of_its_own(quick):
    recipe, look = quick(), Look(2)
    assert list(look.over(recipe, TINY, *opened(recipe))) == []
    assert len(look.readings) == 2
    assert look.ends is not None
