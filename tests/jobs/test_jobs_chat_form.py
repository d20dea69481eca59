"""A recipe's `[chat]` section: on prompts, on cards, and the date of a run's start."""

import datetime
import shutil

import pytest

from jobs.library import find_shelf
from jobs.serve import TokenQuestion
from rlpeft import build
from rlpeft.build import build_prompter, fingerprint, pinned
from rlpeft.choose.strategies import Question
from rlpeft.errors import ExpertError
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.recipe.run import ChatConfig, Recipe, RolloutConfig
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck
from rlpeft.tokens.chat import ChatForm, Talk
from rlpeft.tokens.prompts import encode_prompt
from rlpeft.types import Problem

TINY = resolve_model("tiny")
DATED = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}="


@pytest.fixture
def dated(tmp_path, quick):
    """A recipe for a model whose template writes the year."""
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(DATED)

    def make(**chat):
        return quick(model={"name": str(folder)}, chat=chat)

    return make


def test_the_section_decides_how_turns_are_written(tiny):
    turns = ({"role": "system", "content": "1"}, {"role": "user", "content": "2"})
    prompter = build_prompter(tiny, ChatConfig(fold_system=True), RolloutConfig())
    text = prompter.tokenizer.decode(prompter.ids(Problem("p", turns)))
    assert text == "<bos><user>1\n\n2<assistant>"


def test_a_runs_prompts_keep_the_date_of_its_start(dated, tmp_path, monkeypatch):
    class Clock(datetime.date):
        @classmethod
        def today(cls):
            return cls(2024, 12, 31)

    monkeypatch.setattr(build, "date", Clock)
    base = BaseModel.open(dated().model.name)
    started = pinned(dated(), base, tmp_path / "recipe.json")
    assert started.chat.date == datetime.date(2024, 12, 31)
    (tmp_path / "recipe.json").write_text(started.model_dump_json())
    monkeypatch.undo()
    assert pinned(dated(), base, tmp_path / "recipe.json").chat == started.chat
    text = build_prompter(base, started.chat, started.rollout).written(
        Problem("p", ({"role": "user", "content": "q"},))
    )
    assert text == "2024q="


def test_a_template_without_a_date_pins_none(quick, tiny, tmp_path):
    assert pinned(quick(), tiny, tmp_path / "recipe.json") == quick()


def test_runs_from_before_there_was_a_section_go_on(quick, tiny):
    task = ProblemSet("given", {"train": (Problem("p", "1"),)})
    assert "chat" not in fingerprint(quick(), tiny, [Deck(task)])["recipe"]
    changed = fingerprint(quick(chat={"fold_system": True}), tiny, [Deck(task)])["recipe"]
    assert changed["chat"]["fold_system"] is True


def test_runs_from_when_truncation_was_an_option_go_on(quick, tiny):
    task = ProblemSet("given", {"train": (Problem("p", "1"),)})
    rollout = fingerprint(quick(), tiny, [Deck(task)])["recipe"]["rollout"]
    assert (rollout["top_p"], rollout["top_k"]) == (1.0, 0)


def test_a_run_goes_on_whether_its_recipe_says_what_is_meant_or_leaves_it_absent(quick, tiny):
    task, tree = ProblemSet("given", {"train": (Problem("p", "1"),)}), quick().model_dump()
    said, absent = (
        Recipe.model_validate(tree | {"reward": reward, "rollout": {"stop": stop}})
        for reward, stop in (([{"name": "math"}], []), (None, None))
    )
    assert fingerprint(said, tiny, [Deck(task)]) == fingerprint(absent, tiny, [Deck(task)])


def test_arguments_that_are_ours_are_refused():
    tree = {"name": "x", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    with pytest.raises(ValueError, match="tokenize are ours"):
        Recipe.model_validate(tree | {"chat": {"arguments": {"tokenize": True}}})


def test_experts_answer_under_the_section_they_were_trained_under(make_expert, tmp_path):
    digest = model_digest(TINY)
    tensors = {}
    for name, day in (("a", "2024-01-01"), ("b", "2025-01-01")):
        chat = {"fold_system": True, "date": day}
        make_expert(name, tensors, folder=tmp_path / name, base_digest=digest, chat=chat)
    found = find_shelf(tmp_path, model=None, rollout=RolloutConfig()).chat
    assert (found.fold_system, found.date) == (True, datetime.date(2025, 1, 1))
    make_expert("c", tensors, folder=tmp_path / "c", base_digest=digest)
    with pytest.raises(ExpertError, match=r"must have one \[chat\] section"):
        find_shelf(tmp_path, model=None, rollout=RolloutConfig())


def test_the_question_of_auto_is_written_under_the_section_of_the_experts():
    tokenizer, turn = load_tokenizer(TINY), {"role": "user", "content": "3"}
    talk = Talk(tokenizer, ChatForm(fold_system=True))
    ask = TokenQuestion(Question({"swap": "a"}), talk).ask
    text = tokenizer.decode(ask(encode_prompt(tokenizer, (turn,), talk=talk)))
    assert text.startswith("<bos><user>You sort questions into kinds.")
    assert text.endswith("\n\n3<assistant>")
