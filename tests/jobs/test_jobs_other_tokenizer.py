"""The same weights under another tokenizer or template: refused where a run goes on, else said."""

import json
import shutil

import pytest

from jobs.adapt import read_inputs
from jobs.evaluate import evaluate_expert
from jobs.library import find_shelf, read_experts
from rlpeft.build import build_card, build_state, fingerprint
from rlpeft.errors import CheckpointError
from rlpeft.experts.export import export_expert
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.program.folder import start_or_continue
from rlpeft.recipe.run import RolloutConfig
from rlpeft.runs.checkpoint import save_checkpoint
from rlpeft.tasks.base import ProblemSet
from rlpeft.tasks.decks import Deck
from rlpeft.types import Problem

DECKS = [Deck(ProblemSet("given", {"train": (Problem("p", "1"),)}))]
TEMPLATE = "chat_template.jinja"


@pytest.fixture
def folder(tmp_path):
    """The built-in model, to be changed."""
    return shutil.copytree(resolve_model("tiny"), tmp_path / "model")


@pytest.fixture
def retemplated(folder):
    """Writes another template into the folder."""

    def change():
        weights = model_digest(folder)
        text = (folder / TEMPLATE).read_text()
        (folder / TEMPLATE).write_text(text.replace("<assistant>", "<assistant>1"))
        assert model_digest(folder) == weights

    return change


@pytest.fixture
def trained(folder, quick, make_expert, tmp_path):
    """An expert of the folder as it is at first, and its recipe."""
    recipe = quick(model={"name": str(folder)})
    base = BaseModel.open(str(folder))
    state = build_state(recipe.engine, base)
    fields = build_card(recipe, base).model_dump(exclude={"name", "digest", "step"})
    root = tmp_path / "experts"
    make_expert("e", state.tensors, folder=root / "e", config=dict(state.config), **fields)
    return root, recipe


def notes(capsys):
    return " ".join(capsys.readouterr().err.split()).split("note: ")[1:]


def print_of(recipe):
    """The fingerprint of a run that starts now."""
    return fingerprint(recipe, BaseModel.open(recipe.model.name), DECKS)


@pytest.fixture
def begun(folder, quick, tmp_path):
    """A run with a step behind it, and its recipe."""
    recipe, out = quick(model={"name": str(folder)}), tmp_path / "run"
    start_or_continue(out, print_of(recipe))
    save_checkpoint(out, 1, {}, keep=1)
    return out, recipe


def test_a_run_does_not_go_on_under_another_template(begun, retemplated):
    out, recipe = begun
    start_or_continue(out, print_of(recipe))
    retemplated()
    with pytest.raises(CheckpointError, match=r"set-up: tokenizer\.chat_template was '[0-9a-f]+"):
        start_or_continue(out, print_of(recipe))


def test_a_run_does_not_go_on_under_other_ends(begun, folder):
    out, recipe = begun
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 5]}))
    with pytest.raises(CheckpointError, match=r"tokenizer\.ends was \[2\], is \[2, 5\]"):
        start_or_continue(out, print_of(recipe))


def test_a_run_from_before_this_goes_on_with_a_note(begun, capsys):
    out, recipe = begun
    file = out / "fingerprint.json"
    tree = json.loads(file.read_text())
    del tree["tokenizer"]
    file.write_text(json.dumps(tree))
    start_or_continue(out, print_of(recipe))
    (note,) = notes(capsys)
    assert "before fingerprints held tokenizer" in note


def test_experts_of_a_folder_are_named_where_the_template_is_another(trained, retemplated, capsys):
    root, recipe = trained
    shelf = find_shelf(root, model=recipe.model.name, rollout=RolloutConfig())
    read_experts(shelf)
    assert notes(capsys) == []
    retemplated()
    read_experts(shelf)
    (note,) = notes(capsys)
    assert "expert 'e' was trained under another tokenizer or template" in note
    assert "what differs: chat template" in note


def test_evaluating_says_that_the_template_is_another(trained, retemplated, capsys):
    root, recipe = trained
    retemplated()
    evaluate_expert(root / "e", recipe, num=1)
    assert any("what differs: chat template" in note for note in notes(capsys))


def test_a_search_says_that_the_template_is_another(trained, retemplated, adapt_recipe):
    root, recipe = trained
    retemplated()
    found = read_inputs(adapt_recipe(experts=[str(root)], model={"name": recipe.model.name}))
    assert any("what differs: chat template" in note for note in found.notes)


def test_an_export_says_that_the_template_is_another(trained, retemplated, tmp_path):
    root, _ = trained
    retemplated()
    receipt = export_expert(root / "e", tmp_path / "out", format="merged")
    assert "what differs: chat template" in receipt.note


def test_a_card_from_before_this_loads_with_a_note(tiny_experts, capsys):
    read_experts(find_shelf(tiny_experts, model="tiny", rollout=RolloutConfig()))
    told = [note for note in notes(capsys) if "cannot be told" in note]
    assert len(told) == len(list(tiny_experts.iterdir()))
