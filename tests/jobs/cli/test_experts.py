"""`rlpeft experts`: what it prints and what it refuses."""

import json
import re
import shutil

import pytest
import torch
from typer.testing import CliRunner

from jobs.cli.experts import app
from rlpeft.errors import ExpertError
from rlpeft.experts.files import Parent, read_card
from rlpeft.experts.measures import Accuracy

Q, UP = (
    "base_model.model.model.layers.0.self_attn.q_proj.svf_z",
    "base_model.model.model.layers.0.mlp.up_proj.svf_z",
)


@pytest.fixture
def runs(tmp_path, make_expert):
    """A folder of two runs: one expert was tested, the other was not."""
    tested = {"test": Accuracy.of(90, 100), "base_test": Accuracy.of(50, 100)}
    swap = {Q: torch.tensor([1.5, 1.0]), UP: torch.tensor([1.0, 1.0])}
    plus = {Q: torch.tensor([1.0, 1.5]), UP: torch.tensor([1.2, 1.0])}
    make_expert("swap", swap, folder=tmp_path / "swap" / "expert", step=40, **tested)
    make_expert("plus", plus, folder=tmp_path / "plus" / "expert")
    return tmp_path


def printed(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_finds_experts_below_a_folder(runs):
    found = json.loads(printed("list", runs, "--json"))
    assert [(row["name"], row["step"]) for row in found] == [("plus", 0), ("swap", 40)]
    assert [row["test"] and row["test"]["correct"] for row in found] == [None, 90]


def test_list_shows_accuracies_with_their_intervals_and_whole_paths(runs):
    listed = printed("list", runs)
    # Beside its path, or below one that is too long for that.
    row = listed[listed.index(str(runs / "swap" / "expert")) :]
    assert "90.0% [82.6%, 94.5%]" in row
    assert "50.0% [40.4%, 59.6%]" in row


def test_list_marks_an_expert_that_no_step_has_moved(runs, make_expert):
    tensors = {Q: torch.tensor([1.0, 1.0]), UP: torch.tensor([1.0, 1.0])}
    make_expert("idle", tensors, folder=runs / "idle" / "expert", equals_base=True)
    digest = read_card(runs / "swap" / "expert").digest
    swap = {Q: torch.tensor([1.5, 1.0]), UP: torch.tensor([1.0, 1.0])}
    start = Parent(name="swap", digest=digest)
    make_expert("again", swap, folder=runs / "again" / "expert", step=3, start=start)

    listed = " ".join(printed("list", runs).split())

    assert "0 (is the base model)" in listed
    assert "3 (is the expert it started from, swap)" in listed
    assert listed.count("(is ") == 2
    equal = {row["name"]: row["equals"] for row in json.loads(printed("list", runs, "--json"))}
    assert equal["idle"] == "the base model"
    assert equal["swap"] is None


def test_list_passes_over_a_base_models_card(runs):
    (runs / "base").mkdir()
    (runs / "base" / "card.json").write_text("{}")
    assert len(json.loads(printed("list", runs, "--json"))) == 2


def test_list_passes_over_experts_that_are_still_being_written(runs):
    shutil.copytree(runs / "swap" / "expert", runs / "swap" / ".expert.partial")
    assert len(json.loads(printed("list", runs, "--json"))) == 2


def test_a_damaged_expert_is_listed_as_such_beside_the_others(runs):
    (runs / "plus" / "expert" / "card.json").write_text("{")
    plus, swap = json.loads(printed("list", runs, "--json"))
    assert "card.json' must be JSON" in plus["error"]
    assert swap["name"] == "swap"
    assert "must be JSON" in printed("list", runs)


def test_a_card_whose_sections_are_none_hides_no_other_expert(runs):
    path = runs / "plus" / "expert" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task": {"name": ["a"], "path": 5}}))
    plus, swap = json.loads(printed("list", runs, "--json"))
    assert "task: name must be text" in plus["error"]
    assert swap["name"] == "swap"


def test_a_label_of_a_stranger_is_no_markup(runs):
    path = runs / "plus" / "expert" / "card.json"
    test = Accuracy.of(1, 2).model_dump() | {"confusion": {"[/]": {"[/]": 1, "-": 1}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test": test}))
    assert printed("show", runs / "plus" / "expert").count("[/]") == 2


def test_list_of_an_empty_folder_says_how_to_begin(tmp_path):
    assert "rlpeft train" in printed("list", tmp_path)


def test_list_of_no_folder_is_our_error(tmp_path):
    result = CliRunner().invoke(app, ["list", str(tmp_path / "nowhere")])
    assert isinstance(result.exception, ExpertError)


def test_show_gives_the_card_and_the_change_by_kind(runs):
    document = json.loads(printed("show", runs / "swap" / "expert", "--json"))
    assert document["card"]["name"] == "swap"
    query, up = document["change"]
    assert (query["kind"], query["high"], query["rms"]) == (
        "q_proj",
        0.5,
        pytest.approx(0.125**0.5),
    )
    assert (up["kind"], up["rms"]) == ("up_proj", 0.0)
    text = printed("show", runs / "swap" / "expert")
    assert "90.0% [82.6%, 94.5%]" in text
    assert "+0.5000" in text


def test_show_is_for_people_and_says_nothing_of_what_is_absent(runs):
    text = printed("show", runs / "swap" / "expert")
    assert not set('{}"[') & set(text.replace("[", "", text.count("%")))
    assert "null" not in text
    rows = {line[:14].strip(): line[14:].strip() for line in text.splitlines()}
    assert rows["task"] == "name tiny/swap"
    assert "mixture" not in rows


def test_show_calls_a_task_of_rows_by_its_file(make_expert):
    tensors = {"base_model.model.model.layers.0.self_attn.q_proj.svf_z": torch.ones(2)}
    folder = make_expert("own", tensors, task={"name": "jsonl", "path": "in/sums.jsonl"})
    assert "name sums.jsonl, path in/sums.jsonl" in printed("show", folder)


def test_show_of_a_geometric_expert_gives_its_card_and_why_there_is_no_change(make_expert):
    tensors = {"base_model.model.model.layers.0.self_attn.q_proj.hyplora_A": torch.ones(2, 128)}
    folder = make_expert("bent", tensors, config={"peft_type": "HYPLORA"})
    text = printed("show", folder)
    assert "bent" in text
    assert "depends on the token" in text
    found = json.loads(printed("show", folder, "--json"))
    assert found["card"]["name"] == "bent"
    assert found["change"] is None
    assert "it is 'HYPLORA'" in found["refusal"]


def test_show_of_no_expert_is_our_error(tmp_path):
    result = CliRunner().invoke(app, ["show", str(tmp_path)])
    assert isinstance(result.exception, ExpertError)


def test_compare_gives_angle_and_distance_by_module(runs):
    folders = [runs / "swap" / "expert", runs / "plus" / "expert"]
    document = json.loads(printed("compare", *folders, "--json"))
    (pair,) = document["pairs"]
    assert pair["cosine"] == pytest.approx(0.0)
    assert pair["distances"] == {
        "model.layers.0.self_attn.q_proj": pytest.approx(0.5),
        "model.layers.0.mlp.up_proj": pytest.approx(0.2 / 2**0.5),
    }
    text = printed("compare", *folders)
    assert text.index("q_proj") < text.index("up_proj")
    assert "cosine of their changes +0.000" in text


def test_compare_of_three_has_three_pairs(runs, make_expert):
    third = make_expert("third", {Q: torch.tensor([1.5, 1.5]), UP: torch.ones(2)})
    folders = [runs / "swap" / "expert", runs / "plus" / "expert", third]
    assert len(json.loads(printed("compare", *folders, "--json"))["pairs"]) == 3


def test_compare_of_one_is_our_error(runs):
    result = CliRunner().invoke(app, ["compare", str(runs / "swap" / "expert")])
    assert isinstance(result.exception, ExpertError)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", ["list", "show", "compare"])
def test_what_is_printed_of_experts_fits_the_terminal(runs, command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(runs)
    folders = {"list": ["."], "show": ["swap/expert"], "compare": ["swap/expert", "plus/expert"]}
    text = printed(command, *folders[command])
    digests = re.compile(r" {2}[0-9a-f]{64}$")  # are there to be copied, too
    lines = [line for line in text.splitlines() if not digests.match(line)]
    assert max(len(line.rstrip()) for line in lines) <= columns
    assert "swap/expert" in text or command == "show"
    assert "90.0% [82.6%, 94.5%]" in text


@pytest.mark.parametrize("name", ["card.json", "adapter_config.json", "adapter_model.safetensors"])
def test_list_shows_what_an_expert_lacks(runs, name):
    (runs / "swap" / "expert" / name).unlink()
    errors = [row.get("error") for row in json.loads(printed("list", runs, "--json"))]
    assert errors == [None, f"damaged: there is no {name}"]


def test_show_says_from_which_score_on_an_answer_is_correct(runs, make_expert):
    graded = {"rewards": ("mine:f1",), "correct_at": {"mine:f1": 1.0}}
    folder = make_expert("graded", {Q: torch.tensor([1.5, 1.0])}, **graded)
    rows = [" ".join(line.split()) for line in printed("show", folder).splitlines()]
    assert "correct at mine:f1 1" in rows
    assert "correct at" not in printed("show", runs / "swap" / "expert")


def test_show_has_no_row_of_a_start_where_there_was_none(runs):
    assert "start test" not in printed("show", runs / "swap" / "expert")


def test_a_card_of_a_stranger_is_shown_and_not_obeyed(tmp_path, make_expert):
    told = "x\x1b]0;owned\x07[/y]"
    make_expert(
        "odd",
        {Q: torch.tensor([1.5, 1.0])},
        folder=tmp_path / "odd" / "expert",
        base_model=told,
        task={"name": told, "path": told, "options": {told: told}},
        rewards=(told,),
        modules={told: 1},
        left_out={told: 1},
        versions={told: told},
        chat={told: told},
        stop=(told,),
    )
    for shown in (printed("show", tmp_path / "odd" / "expert"), printed("list", tmp_path)):
        assert r"x\x1b]0;owned" in shown
        assert not set(shown) & set("\x1b\x07")
